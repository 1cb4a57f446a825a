"""The least a Telegram bot can do: poll, ask a model, answer, keep nothing. Our CPU's yardstick.

Run as a process: ``python -m tests.bench.reference BASE_URL LLM_URL``; the first with the token.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp


async def main(base: str, llm: str) -> None:
    """Answer every text with what the model says, until killed."""
    async with aiohttp.ClientSession() as session:
        offset = 0
        while True:
            url = f"{base}/getUpdates?timeout=5&offset={offset}"
            async with session.get(url) as answer:
                updates = (await answer.json())["result"]
            for update in updates:
                offset = update["update_id"] + 1
                message = update["message"]
                text = await _ask(session, llm, message["text"])
                body = {"chat_id": message["chat"]["id"], "text": text}
                async with session.post(f"{base}/sendMessage", json=body) as sent:
                    await sent.read()


async def _ask(session: aiohttp.ClientSession, llm: str, text: str) -> str:
    body = {"model": "internlm2-chat-7b", "messages": [{"role": "user", "content": text}]}
    async with session.post(f"{llm}/v1/chat/completions", json=body) as answer:
        return str((await answer.json())["choices"][0]["message"]["content"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
