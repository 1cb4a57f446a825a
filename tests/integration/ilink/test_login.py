"""Scanning the code: every answer WeChat has, and what is stored at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from adapters.wechat.ilink.api import IlinkApi, NotSent
from adapters.wechat.ilink.login import LoginDesk, LoginView, QrLogin
from adapters.wechat.ilink.logins import Login, all_logins
from core.store.store import Store
from tests.conftest import ManualClock
from tests.fakes.ilink import Ilink
from tests.fakes.waiting import until
from tests.integration.ilink.conftest import Clinic


class Shown:
    """What the person at the screen sees."""

    def __init__(self) -> None:
        self.views: list[LoginView] = []

    @property
    def states(self) -> list[str]:
        return [view.state for view in self.views]


Begin = Callable[[], QrLogin]


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def begin(wechat: Ilink, api: IlinkApi, store: Store, clock: ManualClock, shown: Shown) -> Begin:
    async def no_pause(_: float) -> None:
        await asyncio.sleep(0)

    return lambda: QrLogin(
        api, store, clock, wechat.base, on_change=shown.views.append, sleep=no_pause
    )


async def logins(store: Store) -> list[Login]:
    return await store.read(all_logins, 10)


async def test_a_scan_connects_a_person_and_keeps_the_token_sealed(
    wechat: Ilink, begin: Begin, shown: Shown, store: Store
) -> None:
    login = begin()
    running = asyncio.create_task(login.run())
    await until(lambda: shown.views)
    assert shown.views[0].qr == "https://liteapp.weixin.qq.com/q/1"
    wechat.set_status("scaned")  # codespell:ignore scaned
    await until(lambda: "scanned" in shown.states)
    assert shown.views[-1].qr, "still shown: another phone may have scanned by mistake"
    wechat.scan("alice@im.wechat")
    view = await running
    assert (view.state, view.qr) == ("confirmed", None)
    (kept,) = await logins(store)
    (bot,) = wechat.bots.values()
    assert (kept.user_id, kept.bot_id, kept.state) == ("alice@im.wechat", bot.bot_id, "active")
    assert kept.token(store.keys) == bot.token
    assert bot.token.encode() not in kept.token_sealed
    assert shown.states == ["waiting", "scanned", "confirmed"]


async def test_scanning_again_replaces_the_bot_and_forgets_its_cursor(
    clinic: Clinic, begin: Begin
) -> None:
    await clinic.connect("alice")
    await clinic.run()
    await clinic.hears("alice", "一")
    await until(lambda: sum(b.polls for b in clinic.wechat.bots.values()) > 1)
    clinic.clock.advance(s=60)
    running = asyncio.create_task(begin().run())
    await until(lambda: clinic.wechat.scans)
    assert len(clinic.wechat.scans[-1].known) == 1, "WeChat is told what we have"
    clinic.wechat.scan("alice")
    assert (await running).state == "confirmed"
    (kept,) = await logins(clinic.store)
    assert kept.cursor_sealed is None
    await clinic.hears("alice", "二")
    assert [m.text for m in clinic.intake.accepted] == ["一", "二"]


async def test_an_expired_code_is_replaced_twice_and_then_no_more(
    wechat: Ilink, begin: Begin, shown: Shown
) -> None:
    running = asyncio.create_task(begin().run())
    for number in (1, 2, 3):
        await until(lambda n=number: len(wechat.scans) == n)
        wechat.set_status("expired")
    assert (await running).state == "expired"
    codes = [view.qr for view in shown.views if view.state == "waiting"]
    assert codes == [f"https://liteapp.weixin.qq.com/q/{n}" for n in (1, 2, 3)]
    assert len(wechat.scans) == 3


async def test_wrong_digits_are_asked_again(
    wechat: Ilink, begin: Begin, shown: Shown, store: Store
) -> None:
    login = begin()
    running = asyncio.create_task(login.run())
    await until(lambda: wechat.scans)
    wechat.scan("alice", digits="4711")
    await until(lambda: "code_needed" in shown.states)
    assert not shown.views[-1].wrong_code
    login.give_code("0000")
    await until(lambda: shown.views[-1].wrong_code)
    login.give_code(" 4711\n")
    assert (await running).state == "confirmed"
    assert len(await logins(store)) == 1


async def test_too_many_wrong_digits_need_a_new_code(
    wechat: Ilink, begin: Begin, shown: Shown
) -> None:
    running = asyncio.create_task(begin().run())
    for number in (1, 2, 3):
        await until(lambda n=number: len(wechat.scans) == n)
        wechat.set_status("verify_code_blocked")
    assert (await running).state == "blocked"
    assert shown.states == ["waiting", "blocked"] * 3


async def test_a_phone_that_is_connected_already_is_said_so(
    wechat: Ilink, begin: Begin, store: Store
) -> None:
    running = asyncio.create_task(begin().run())
    await until(lambda: wechat.scans)
    wechat.set_status("binded_redirect")
    assert (await running).state == "already"
    assert await logins(store) == []


async def test_we_follow_to_another_host_of_wechat(wechat: Ilink, begin: Begin) -> None:
    running = asyncio.create_task(begin().run())
    await until(lambda: wechat.scans)
    wechat.set_status("scaned_but_redirect")
    await until(lambda: wechat.scans[-1].status != "scaned_but_redirect")
    wechat.scan("alice")
    assert (await running).state == "confirmed"


def test_but_to_no_other(api: IlinkApi) -> None:
    assert api.trusted("https://sh.ilinkai.weixin.qq.com/ilink")
    for url in (
        "https://weixin.qq.com.evil.example/",
        "https://evilweixin.qq.com/",
        "http://ilinkai.weixin.qq.com/",
        "https://127.0.0.1/",
        "file:///etc/passwd",
        "",
    ):
        with pytest.raises(NotSent):
            api.trusted(url)


@pytest.mark.parametrize("kind", ["502", "garbage", "refuse"])
async def test_no_code_at_all_is_a_failure(wechat: Ilink, begin: Begin, kind: str) -> None:
    wechat.faults.append(("get_bot_qrcode", kind))
    assert (await begin().run()).state == "failed"


async def test_a_hiccup_while_waiting_changes_nothing(wechat: Ilink, begin: Begin) -> None:
    wechat.faults.extend([("get_qrcode_status", "502"), ("get_qrcode_status", "cut")])
    running = asyncio.create_task(begin().run())
    await until(lambda: not wechat.faults and wechat.scans)
    wechat.scan("alice")
    assert (await running).state == "confirmed"


async def test_the_console_has_one_login_at_a_time(
    wechat: Ilink, begin: Begin, store: Store
) -> None:
    desk = LoginDesk(begin)
    assert desk.view.state == "idle"
    await asyncio.gather(desk.begin(), desk.begin())
    await until(lambda: desk.view.qr)
    await desk.begin()
    assert len(wechat.scans) == 1
    wechat.scan("alice")
    await until(lambda: desk.view.state == "confirmed")
    assert len(await logins(store)) == 1
    await desk.begin()
    await until(lambda: desk.view.qr)
    await desk.stop()
    await desk.stop()
    assert desk.view == LoginView()
