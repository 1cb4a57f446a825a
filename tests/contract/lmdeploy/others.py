"""Two further OpenAI-compatible servers with a real, tiny model: llama.cpp and transformers.

They stand for what people run besides LMDeploy (Ollama is llama.cpp inside; vLLM's HTTP layer is
the relative of LMDeploy's), and they differ where it matters: which fields they accept, how they
say that the context is full, what their events look like.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests.contract.lmdeploy.server import PYTHON, ROOT, free_port
from tests.contract.lmdeploy.tiny import CONTEXT

OTHERS = ("llama_cpp", "transformers")
_START_S = 60.0


def is_installed(name: str) -> bool:
    """Tell whether the environment has this server."""
    return any((ROOT / ".venv-lmdeploy/lib").glob(f"python*/site-packages/{name}/__init__.py"))


def version(name: str) -> str:
    """Return what is pinned."""
    wanted = {"llama_cpp": "llama-cpp-python", "transformers": "transformers"}[name]
    for file in ("requirements-others.txt", "requirements.txt"):
        for line in (Path(__file__).parent / file).read_text("utf-8").splitlines():
            if line.startswith(f"{wanted}=="):
                return f"{wanted} {line.partition('==')[2].strip()}"
    raise LookupError(wanted)


def _command(name: str, model: Path, port: int) -> list[str]:
    if name == "llama_cpp":
        return [
            *(str(PYTHON), "-m", "llama_cpp.server", "--model", str(model)),
            *("--n_ctx", str(CONTEXT), "--n_threads", "1", "--model_alias", "tiny-eye"),
            *("--host", "127.0.0.1", "--port", str(port), "--verbose", "False"),
            # Otherwise it drops a running answer whenever somebody else asks anything.
            *("--interrupt_requests", "False"),
        ]
    serve = str(PYTHON.with_name("transformers"))
    # Relative to its working directory: the argument is also the model's name.
    return [serve, "serve", "--host", "127.0.0.1", "--port", str(port), model.name]


@asynccontextmanager
async def running(name: str) -> AsyncGenerator[str, None]:
    """Start one of `OTHERS` and yield its base URL."""
    with TemporaryDirectory() as folder:
        kind, model = {
            "llama_cpp": ("gguf", Path(folder) / "tiny.gguf"),
            "transformers": ("hf", Path(folder) / "tiny-eye"),
        }[name]
        make = [str(PYTHON), "-m", "tests.contract.lmdeploy.tiny", kind, str(model)]
        env = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "TMPDIR"}}
        env |= {"HF_HUB_OFFLINE": "1", "HF_HOME": folder, "OMP_NUM_THREADS": "1", "HOME": folder}
        await asyncio.to_thread(
            subprocess.run, make, cwd=ROOT, env=env, check=True, capture_output=True, timeout=60
        )
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            *_command(name, model, port),
            cwd=folder,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(_START_S):
                while not await _listens(client, url):
                    if process.returncode is not None:
                        raise RuntimeError(f"{name} ended at its start")
                    await asyncio.sleep(0.1)
            yield url
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _listens(client: httpx.AsyncClient, url: str) -> bool:
    try:
        await client.get(f"{url}/health", timeout=2)
    except httpx.TransportError:
        return False
    return True
