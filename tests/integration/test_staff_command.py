"""`oculichat staff password`: the way back in, while the service may be running."""

from __future__ import annotations

import re

from sqlalchemy import Connection, select

from adapters.console.passwords import Passwords
from adapters.console.settings import ConsoleSettings
from adapters.console.staff_desk import StaffRoll
from bot.settings import Settings
from bot.staff import reset_password
from core.store.keyring import load_or_create
from core.store.store import Store
from core.store.tables import staff
from migrations.schema import create


async def test_a_locked_out_admin_gets_a_new_password(tmp_path, capsys):
    cheap = ConsoleSettings(argon2_memory_kib=64, argon2_passes=1)
    settings = Settings(data_dir=tmp_path, console=cheap)
    create(settings.database_url)
    store = Store(settings.database_url, load_or_create(settings.key_file))  # as a service has it
    roll, passwords = StaffRoll(store), Passwords(cheap)
    try:
        assert reset_password(settings, " Admin ") == 0
        first = re.search(r"^admin / (\S+)  \(new account", capsys.readouterr().out)
        assert first
        found = await roll.find_account("admin")
        assert found
        assert (await passwords.check(first[1], found.password_hash)).is_right
        assert found.role == "admin"

        await roll.begin(found.id, "A" * 32)
        await roll.use_step(found.id, 1)
        await roll.create_session("0" * 64, found.id, at_ms=1)
        assert reset_password(settings, "admin") == 0
        again = await roll.find_account("admin")
        assert again
        assert not (await passwords.check(first[1], again.password_hash)).is_right
        assert not again.has_codes
        assert await roll.sessions_of(found.id) == []
        assert await store.read(_must_change, None) == [True]
        assert reset_password(settings, "; drop") == 2
    finally:
        passwords.close()
        store.close()


def _must_change(connection: Connection, _argument: None) -> list[bool]:
    return list(connection.execute(select(staff.c.must_change)).scalars())
