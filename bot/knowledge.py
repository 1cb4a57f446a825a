"""Wires what is searched beside the articles: the clinic's books, and vectors when they are on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from bot.settings import Settings
from core.errors import ConfigError, ModelUnavailable
from core.knowledge.articles import articles
from core.knowledge.library import Library
from core.knowledge.search import use
from core.message import LANGUAGES

if TYPE_CHECKING:
    from core.knowledge.meaning import Meaning
    from models.embeddings.client import EmbeddingClient

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 30.0
_PAUSE_AFTER_FAILURE_S = 120.0


class KnowledgeSources:
    """The books and vectors of one running service.

    Raises:
        ConfigError: embeddings are on without a model.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder: Path = settings.library_dir
        self._library = Library(self._folder)
        self._client: EmbeddingClient | None = None
        self._meaning: Meaning | None = None
        if settings.knowledge.base_url is not None:
            from core.knowledge.meaning import Meaning  # noqa: PLC0415 off for most
            from models.embeddings.client import EmbeddingClient  # noqa: PLC0415

            self._client = EmbeddingClient(settings.knowledge)
            timeout_s = settings.knowledge.timeout_s
            self._meaning = Meaning(self._client, self._folder, timeout_s=timeout_s)

    @property
    def is_ready(self) -> bool:
        """Whether vectors are compared now."""
        return self._meaning is not None and self._meaning.is_ready

    async def prepare(self, question: str) -> None:
        """Have the question's vector ready, within the time set; nothing when vectors are off."""
        if self._meaning is not None:
            await self._meaning.prepare(question)

    def start(self) -> asyncio.Task[None]:
        """Begin to be searched; the task keeps index and vectors up to date."""
        use(library=self._library, meaning=self._meaning)
        return asyncio.create_task(self._keep_up())

    async def stop(self) -> None:
        """Be searched no more, and disconnect."""
        use()
        self._library.close()
        if self._client is not None:
            await self._client.stop()

    async def _keep_up(self) -> None:
        try:
            if await asyncio.to_thread(self._library.refresh_index):
                log.info("books_indexed_anew")
        except ConfigError as error:
            log.warning("books_unreadable", error=str(error))
        learnt: frozenset[str] | None = None
        while self._meaning is not None:
            pause_s = _LOOK_EVERY_S
            books = frozenset(b.hash for b in self._library.books())
            if books != learnt:
                try:
                    made = await self._meaning.learn(await asyncio.to_thread(self._content))
                    learnt = books
                    log.info("vectors_ready", made=made)
                except ModelUnavailable as error:
                    pause_s = _PAUSE_AFTER_FAILURE_S
                    log.warning("vectors_missing", error=str(error))
            await asyncio.sleep(pause_s)

    def _content(self) -> list[tuple[str, str]]:
        """Return what can be found with the words that stand for it."""
        content = [
            (a.id, "\n".join([a.title[tag], *(fact.text for fact in a.facts[tag])]))
            for a in articles().values()
            for tag in LANGUAGES
        ]
        for book in self._library.books():
            content += (
                (p.id, "\n".join([*p.headings, p.text])) for p in self._library.passages(book.id)
            )
        return content
