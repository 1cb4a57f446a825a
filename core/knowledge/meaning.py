"""Optional search by meaning: vectors of articles and passages beside the search by words.

Vectors are made once by an `Embedder`, kept on disk by the hash of what they stand for, and only
looked at here, so a server that is slow or gone costs nothing but its own part of the ranking.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from core.errors import ModelUnavailable
from core.ports import Embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Vectors = NDArray[np.float32]

log = structlog.get_logger(__name__)

_BATCH = 32
_QUESTIONS = 512  # remembered; one conversation asks the same words twice in a turn
_RANKED = 20


class Meaning:
    """Vectors of what can be found, and of the questions asked lately.

    Args:
        embedder: makes vectors.
        folder: keeps them; one file per model.
        timeout_s: longest wait for a question's vector.
    """

    def __init__(self, embedder: Embedder, folder: Path, *, timeout_s: float) -> None:
        self._embedder = embedder
        self._folder = folder
        self._timeout_s = timeout_s
        self._questions: OrderedDict[str, _Vectors] = OrderedDict()
        self._ids: tuple[str, ...] = ()
        self._matrix: _Vectors | None = None

    @property
    def is_ready(self) -> bool:
        """Whether there are vectors to compare with."""
        return self._matrix is not None

    async def prepare(self, question: str) -> None:
        """Have the question's vector ready for `ranking`; gives up in silence in time."""
        if self._matrix is None or question in self._questions or not self._embedder.is_healthy():
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                (vector,) = await self._embedder.embed([question])
        except (ModelUnavailable, TimeoutError) as error:
            log.info("question_not_embedded", error=type(error).__name__)
            return
        self._questions[question] = _unit([vector])[0]
        while len(self._questions) > _QUESTIONS:
            self._questions.popitem(last=False)

    def ranking(self, question: str) -> tuple[str, ...]:
        """Return ids nearest in meaning, best first; () when there is no vector to compare."""
        vector, matrix = self._questions.get(question), self._matrix
        if vector is None or matrix is None or vector.shape[0] != matrix.shape[1]:
            return ()
        nearest = (-(matrix @ vector)).argsort()[: 4 * _RANKED]
        # An id has a vector per language: its best one counts.
        return tuple(dict.fromkeys(self._ids[int(i)] for i in nearest))[:_RANKED]

    async def learn(self, content: Sequence[tuple[str, str]]) -> int:
        """Hold the vectors of (id, text) pairs; makes those that are not on disk.

        Returns:
            How many had to be made.

        Raises:
            ModelUnavailable: some are missing; what was made is kept, and calling again goes on.
        """
        names = [hashlib.sha256(text.encode()).hexdigest()[:32] for _, text in content]
        known = await asyncio.to_thread(self._load)
        missing = {n: text for n, (_, text) in zip(names, content, strict=True) if n not in known}
        try:
            for batch in _batches(list(missing.items())):
                vectors = _unit(await self._embedder.embed([text for _, text in batch]))
                known |= {n: v for (n, _), v in zip(batch, vectors, strict=True)}
        finally:
            if missing:
                await asyncio.to_thread(self._save, known)
        import numpy as np  # noqa: PLC0415 only where embeddings are used

        if len({known[n].shape[0] for n in names}) > 1:
            raise ModelUnavailable("the embedding server changed the length of its vectors")
        self._ids = tuple(i for i, _ in content)
        self._matrix = np.stack([known[n] for n in names]).astype(np.float32) if names else None
        return len(missing)

    def _file(self) -> Path:
        model = hashlib.sha256(self._embedder.model.encode()).hexdigest()[:16]
        return self._folder / f"vectors-{model}.npz"

    def _load(self) -> dict[str, _Vectors]:
        import numpy as np  # noqa: PLC0415 only where embeddings are used

        try:
            with np.load(self._file(), allow_pickle=False) as kept:
                vectors = kept["vectors"].astype(np.float32)
                return dict(zip(kept["names"].tolist(), vectors, strict=True))
        except (OSError, ValueError, KeyError):
            return {}  # none yet, or damaged: made anew

    def _save(self, known: Mapping[str, _Vectors]) -> None:
        """Replace the file as a whole; of two replicas the later one wins, neither harms."""
        import numpy as np  # noqa: PLC0415 only where embeddings are used

        if not known:
            return
        vectors = np.stack(list(known.values())).astype(np.float16)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".npz", delete=False) as into:
                np.savez(into, names=np.array(list(known)), vectors=vectors)
            Path(into.name).replace(self._file())
        except OSError as error:
            log.warning("vectors_not_kept", error=type(error).__name__)


def _batches(items: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    return [items[i : i + _BATCH] for i in range(0, len(items), _BATCH)]


def _unit(vectors: Sequence[Sequence[float]]) -> _Vectors:
    import numpy as np  # noqa: PLC0415 only where embeddings are used

    found = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return (found / np.where(lengths > 0, lengths, 1)).astype(np.float32)
