"""The fundus reader as core sees it: async outside, one bounded worker inside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from core.errors import Bug, ConfigError, PatientError, TransientError
from core.message import Language
from core.ports import Health
from core.reading import Eye, Reading
from models.fundus.settings import FundusSettings

if TYPE_CHECKING:
    from models.fundus.assess import Assessor
    from models.fundus.intake.process import DecoderProcess

_T = TypeVar("_T")


class OnnxFundusReader:
    """Implements `core.ports.FundusReader`. Nothing heavy is imported before the first photo.

    One worker thread owns the networks: two photos at once would only halve each other's cores and
    double the memory a hostile file can claim.

    Args:
        settings: what the operator wants.
        today: the day in the clinic's time zone, written on the cards; None leaves it out.
    """

    def __init__(
        self, settings: FundusSettings, *, today: Callable[[], date] | None = None
    ) -> None:
        self._settings = settings
        self._today = today
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fundus")
        self._assessor: Assessor | None = None
        self._decoder: DecoderProcess | None = None
        self._broken: ConfigError | None = None
        self._waiting = 0

    async def read(self, photo: bytes, *, language: Language, eye: Eye | None = None) -> Reading:
        """Read one photo; see `core.ports.FundusReader`.

        Raises:
            PatientError: not a picture we can open (`fundus.…` says why), or the reader is off.
            TransientError: too many photos wait, or this one took too long.
            ConfigError: the weights cannot be loaded.
        """
        if not self._settings.enabled:
            raise PatientError("fundus.off")
        if self._waiting >= self._settings.queue:
            raise TransientError(
                f"{self._waiting} photos wait, fundus.queue is {self._settings.queue}",
                retry_after_s=5.0,
            )
        day = self._today() if self._today is not None else None
        return await self._run(
            lambda: self._load().assess(photo, language=language, eye=eye, day=day)
        )

    async def clean(self, photo: bytes, longest_px: int | None = None) -> bytes:
        """Return the photo as a JPEG to keep; see `core.ports.FundusReader`.

        Raises:
            PatientError: not a picture we can open.
            TransientError: it took too long.
        """
        if longest_px is not None and self._waiting >= self._settings.queue / 2:
            # What a page shows may not take the place of what a patient waits for.
            raise TransientError(f"{self._waiting} photos wait", retry_after_s=5.0)

        def work() -> bytes:
            limits = {
                "max_bytes": self._settings.max_bytes,
                "max_pixels": self._settings.max_pixels,
            }
            if longest_px is not None:
                limits["longest_px"] = longest_px
            return self._decoding().clean_jpeg(photo, **limits)

        return await self._run(work)

    async def warm_up(self) -> None:
        """Load everything and run it once.

        Raises:
            ConfigError: the weights cannot be loaded.
        """
        if self._settings.enabled:
            await self._run(lambda: self._load().warm_up())

    async def close(self) -> None:
        """Let the photo in work end, drop those that wait, free the networks."""
        self._worker.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._worker.shutdown, wait=True)
        self._assessor = None
        if self._decoder is not None:
            self._decoder.close()

    def health(self) -> Health:
        """Tell, without waiting, what is loaded."""
        if not self._settings.enabled:
            return Health("fundus", ok=True, detail="off", required=False)
        if self._broken is not None:
            return Health("fundus", ok=False, detail=str(self._broken))
        loaded = self._assessor
        if loaded is None:
            return Health("fundus", ok=True, detail="loads at the first photo")
        facts = {
            "model": loaded.model_version,
            "provider": loaded.network.provider,
            "assesses": " ".join(loaded.assessed),
            "waiting": str(self._waiting),
        }
        if loaded.original is not None:
            facts["original"] = loaded.original.described
        return Health("fundus", ok=True, detail="ready", facts=facts)

    def _load(self) -> Assessor:
        """Return what is loaded, loading it at first use; runs in the worker only."""
        if self._assessor is None:
            decoder = self._decoding()
            decoder.start()  # it gets ready while the networks load

            from models.fundus.assess import Assessor  # noqa: PLC0415  60 MiB, only when needed

            try:
                self._assessor = Assessor(self._settings, decoder.decode)
            except ConfigError as error:
                self._broken = error
                raise
            self._broken = None
        return self._assessor

    def _decoding(self) -> DecoderProcess:
        """Return what opens files; runs in the worker only."""
        if self._decoder is None:
            from models.fundus.intake.process import (  # noqa: PLC0415  imports numpy and Pillow
                DecoderProcess,
            )

            self._decoder = DecoderProcess(timeout_s=self._settings.decode_timeout_s)
        return self._decoder

    async def _run(self, work: Callable[[], _T]) -> _T:
        self._waiting += 1
        try:
            future = asyncio.get_running_loop().run_in_executor(self._worker, work)
        except RuntimeError as error:
            self._waiting -= 1
            raise Bug("the fundus reader is closed") from error
        # Counts until the worker is really done with it: a timed-out photo still holds its place.
        future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await asyncio.shield(future)
        except TimeoutError as error:
            raise TransientError(
                f"a photo took longer than fundus.timeout_s = {self._settings.timeout_s}",
                retry_after_s=self._settings.timeout_s,
            ) from error

    def _done(self, future: asyncio.Future[_T]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # whoever waited may be gone: seen is enough
