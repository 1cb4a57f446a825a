"""The access token: one holder, whatever the number of processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from adapters.wechat.official.token import Issued, TokenHolder
from core.errors import ConfigError, TransientError
from core.store.keyring import Keyring
from core.store.store import Store
from migrations.schema import create
from tests.conftest import ManualClock


class Wechat:
    """Gives the same token to everybody until it ends or somebody voids it."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[bool] = []
        self.number = 1
        self.ends_at_ms = clock.now_ms() + 7_200_000
        self.broken: Exception | None = None

    async def fetch(self, force: bool) -> Issued:
        self.asked.append(force)
        await asyncio.sleep(0.05)
        if self.broken is not None:
            raise self.broken
        now_ms = self.clock.now_ms()
        # WeChat renews about five minutes before the end.
        if force or self.ends_at_ms - now_ms < 300_000:
            self.number += 1
            self.ends_at_ms = now_ms + 7_200_000
        return Issued(f"token-{self.number}", (self.ends_at_ms - now_ms) // 1000)


@pytest.fixture
def stores(empty_database: str, keys: Keyring) -> Iterator[list[Store]]:
    create(empty_database)
    count = 1 if empty_database.startswith("sqlite") else 3
    made = [Store(empty_database, keys) for _ in range(count)]
    yield made
    for store in made:
        store.close()


def _holders(stores: list[Store], wechat: Wechat, count: int = 6) -> list[TokenHolder]:
    return [
        TokenHolder("wxapp", stores[n % len(stores)], wechat.clock, wechat.fetch)
        for n in range(count)
    ]


async def test_many_processes_fetch_once(stores: list[Store], clock: ManualClock) -> None:
    wechat = Wechat(clock)
    holders = _holders(stores, wechat)
    got = await asyncio.gather(*(h.get() for h in holders for _ in range(5)))
    assert set(got) == {"token-1"}
    assert wechat.asked == [False]


async def test_it_is_renewed_before_it_ends_and_nobody_waits(
    stores: list[Store], clock: ManualClock
) -> None:
    wechat = Wechat(clock)
    (holder,) = _holders(stores, wechat, 1)
    assert await holder.get() == "token-1"
    clock.advance(s=7_200 - 240)
    assert await holder.get() == "token-1", "the old one is good for four minutes more"
    assert holder._early is not None
    await holder._early
    assert await holder.get() == "token-2"
    assert wechat.asked == [False, False]
    await holder.close()


async def test_a_failing_renewal_does_not_harm_while_the_old_one_lasts(
    stores: list[Store], clock: ManualClock
) -> None:
    wechat = Wechat(clock)
    (holder,) = _holders(stores, wechat, 1)
    await holder.get()
    clock.advance(s=7_200 - 200)
    wechat.broken = TransientError("away")
    for _ in range(10):
        assert await holder.get() == "token-1"
        await asyncio.sleep(0.02)
    assert len(wechat.asked) == 2, "not at every call"
    clock.advance(s=195)
    with pytest.raises(TransientError):
        await holder.get()
    wechat.broken = None
    assert await holder.get() == "token-2"
    await holder.close()


async def test_a_refused_token_is_replaced_by_what_wechat_gives_now(
    stores: list[Store], clock: ManualClock
) -> None:
    wechat = Wechat(clock)
    holders = _holders(stores, wechat)
    await asyncio.gather(*(h.get() for h in holders))
    wechat.number = 7  # somebody else voided it
    got = await asyncio.gather(*(h.renew("token-1") for h in holders))
    assert set(got) == {"token-7"}
    assert wechat.asked == [False, False], "one of them asked, the others waited"


async def test_force_is_the_last_resort_and_rare(stores: list[Store], clock: ManualClock) -> None:
    wechat = Wechat(clock)
    (holder,) = _holders(stores, wechat, 1)
    await holder.get()
    assert await holder.renew("token-1") == "token-2"
    assert wechat.asked == [False, False, True]
    with pytest.raises(TransientError):
        await holder.renew("token-2")
    assert wechat.asked.count(True) == 1
    clock.advance(s=61)
    assert await holder.renew("token-2") == "token-3"


async def test_a_wrong_secret_is_the_operators(stores: list[Store], clock: ManualClock) -> None:
    wechat = Wechat(clock)
    (holder,) = _holders(stores, wechat, 1)
    wechat.broken = ConfigError("wechat.official.app_secret")
    with pytest.raises(ConfigError):
        await holder.get()
    wechat.broken = None
    assert await holder.get() == "token-1", "the claim was given back"


async def test_the_token_is_sealed(stores: list[Store], clock: ManualClock) -> None:
    wechat = Wechat(clock)
    (holder,) = _holders(stores, wechat, 1)
    await holder.get()
    (found,) = await stores[0].read(
        lambda c, _: c.exec_driver_sql("SELECT token_sealed FROM wechat_token").one(), None
    )
    assert b"token-1" not in bytes(found)
