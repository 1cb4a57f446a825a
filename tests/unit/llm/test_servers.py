"""The next call goes where it is answered best."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from models.llm.servers import Servers
from models.llm.settings import LlmSettings


class Time:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def a_pool(n: int = 3) -> tuple[Servers, Time]:
    time = Time()
    return Servers([f"http://s{i}" for i in range(n)], model=None, now_s=time), time


def test_least_in_flight_wins_and_equals_keep_their_patient() -> None:
    servers, _ = a_pool()
    homes = {key: servers.choose(key) for key in map(str, range(60))}
    assert {id(s) for s in homes.values()} == {id(s) for s in servers.all}
    for key, home in homes.items():
        assert servers.choose(key) is home
    home = homes["7"]
    assert home
    home.in_flight = 1
    assert servers.choose("7") is not home


def test_other_patients_stay_when_a_server_goes() -> None:
    servers, _ = a_pool()
    homes = {key: servers.choose(key) for key in map(str, range(60))}
    gone = servers.all[1]
    servers.failed(gone, unreachable=True)
    for key, home in homes.items():
        assert servers.choose(key) is home or home is gone


def test_breaker_opens_after_three_failures_and_lets_one_try_again() -> None:
    servers, time = a_pool(1)
    (server,) = servers.all
    for n in range(3):
        assert servers.choose("a") is server, n
        servers.failed(server, unreachable=False)
    assert servers.choose("a") is None
    time.now_s += 5
    assert servers.choose("a") is server
    server.in_flight = 1
    assert servers.choose("b") is None, "one call at a time until it succeeds"
    server.in_flight = 0
    servers.failed(server, unreachable=False)
    time.now_s += 9
    assert servers.choose("a") is None, "the pause doubles"
    time.now_s += 1
    assert servers.choose("a") is server
    servers.succeeded(server)
    server.in_flight = 1
    assert servers.choose("b") is server


def test_pause_is_bounded() -> None:
    servers, time = a_pool(1)
    for _ in range(500):
        servers.failed(servers.all[0], unreachable=False)
    time.now_s += 60
    assert servers.choose("a")


def test_urls_may_come_as_one_text() -> None:
    settings = LlmSettings(base_urls="http://a:1/v1/, http://b:2 ,http://a:1")  # type: ignore[arg-type]
    assert settings.base_urls == ("http://a:1", "http://b:2")


@pytest.mark.parametrize("wrong", [{"base_urls": "a:1"}, {"base_url": "http://a"}, {"top_p": 0}])
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LlmSettings(**wrong)  # type: ignore[arg-type]


def test_limits_follow_the_settings() -> None:
    limits = LlmSettings(session_len=4096, max_completion_tokens=512, temperature=0).limits()
    assert (limits.session_len, limits.max_completion_tokens, limits.temperature) == (4096, 512, 0)
