"""The clinic's own settings in the store, and in force in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from core.clinic import Unusable, check, put_in_force
from core.errors import TransientError
from core.followup.intervals import IntervalTable
from core.store.settings import Change, Stored, change_settings, settings_stamp, stored_settings
from core.store.store import Store

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 10.0


class StoredClinic:
    """Keeps settings, and uses what is kept.

    Args:
        store: where they are.
        shipped_table: what `followups.intervals` of the configuration names, or None.
    """

    def __init__(self, store: Store, shipped_table: IntervalTable | None = None) -> None:
        self._store = store
        self._shipped_table = shipped_table
        self._stamp = (-1, -1)

    async def values(self) -> Mapping[str, Stored]:
        """Return every setting that was ever changed."""
        return await self._store.read(stored_settings, None)

    async def change(self, change: Change) -> bool:
        """Keep a checked value and use it at once."""
        changed = await self._store.write(change_settings, change)
        await self.use()
        return changed

    async def use(self) -> None:
        """Put what is stored in force; a value this version cannot use is left out, and logged."""
        stamp = await self._store.read(settings_stamp, None)
        if stamp == self._stamp:
            return
        usable: dict[str, str] = {}
        for name, stored in (await self.values()).items():
            try:
                check(name, stored.value)
            except Unusable as error:
                log.error("setting_unusable", name=name, why=error.key)  # noqa: TRY400 no bug
            else:
                usable[name] = stored.value
        put_in_force(usable, shipped_table=self._shipped_table)
        self._stamp = stamp

    async def follow(self) -> None:
        """Use what other replicas change, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.use()
            except TransientError as error:
                log.warning("settings_not_read", error=str(error))
