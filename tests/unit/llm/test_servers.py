"""The next call goes where it is answered best."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.llm.servers import Server, Servers
from models.llm.settings import LlmSettings

PATIENTS = [f"patient-{n}" for n in range(1000)]


class Time:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def a_pool(n: int = 3, *, draining: tuple[str, ...] = ()) -> tuple[Servers, Time]:
    time = Time()
    urls = [f"http://10.0.0.{i}:23333" for i in range(n)]
    return Servers(urls, model=None, draining=draining, now_s=time), time


def homes(servers: Servers) -> dict[str, Server | None]:
    return {key: servers.choose(key) for key in PATIENTS}


class TestAffinity:
    @pytest.mark.parametrize("n", [2, 3, 5])
    def test_idle_servers_share_the_patients_evenly(self, n: int) -> None:
        servers, _ = a_pool(n)
        shares = Counter(s.number for s in homes(servers).values() if s)
        assert len(shares) == n
        assert max(shares.values()) < 1.5 * min(shares.values())

    def test_a_patient_stays_while_the_server_is_not_much_busier(self) -> None:
        servers, _ = a_pool(2)
        home = servers.choose("a")
        assert home
        home.in_flight = 1
        assert servers.choose("a") is home
        home.in_flight = 2
        assert servers.choose("a") is not home
        for server in servers.all:
            server.in_flight = 20
        home.in_flight = 34
        assert servers.choose("a") is home
        home.in_flight = 35
        assert servers.choose("a") is not home

    def test_other_patients_stay_when_a_server_goes(self) -> None:
        servers, _ = a_pool()
        before = homes(servers)
        gone = servers.all[1]
        servers.failed(gone, cause="not_connected", unreachable=True)
        for key, home in before.items():
            assert servers.choose(key) is not gone
            assert home is gone or servers.choose(key) is home
        servers.succeeded(gone)
        assert homes(servers) == before

    def test_without_affinity_the_least_busy(self) -> None:
        servers, _ = a_pool()
        for server, in_flight in zip(servers.all, (3, 1, 2), strict=True):
            server.in_flight = in_flight
        assert servers.choose("") is servers.all[1]

    def test_without_affinity_idle_servers_take_turns(self) -> None:
        servers, _ = a_pool()
        taken: list[int] = []
        for _ in range(6):
            server = servers.choose("")
            assert server
            server.calls += 1
            taken.append(server.number)
        assert taken == [0, 1, 2, 0, 1, 2]

    @given(
        st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=6),
        st.text(min_size=1, max_size=8),
    )
    def test_the_chosen_one_is_never_overfull(
        self, loads: list[tuple[int, bool]], affinity: str
    ) -> None:
        servers, _ = a_pool(len(loads))
        for server, (in_flight, is_up) in zip(servers.all, loads, strict=True):
            server.in_flight, server.is_reachable = in_flight, is_up
        up = [s for s in servers.all if s.is_reachable]
        chosen = servers.choose(affinity)
        assert (chosen is None) == (not up)
        if chosen:
            assert chosen in up
            assert chosen.in_flight < 1.25 * (sum(s.in_flight for s in up) + 1) / len(up)
            assert servers.choose(affinity, tried=up) is None


class TestBreaker:
    def test_opens_after_three_failures_and_lets_one_try_again(self) -> None:
        servers, time = a_pool(1)
        (server,) = servers.all
        for n in range(3):
            assert servers.choose("a") is server, n
            servers.failed(server, cause="refused")
        assert servers.state(server) == "resting"
        assert servers.choose("a") is None
        time.now_s += 5
        assert servers.state(server) == "on_trial"
        assert servers.choose("a") is server
        server.in_flight = 1
        assert servers.choose("b") is None, "one call at a time until it succeeds"
        server.in_flight = 0
        servers.failed(server, cause="refused")
        time.now_s += 9
        assert servers.choose("a") is None, "the pause doubles"
        time.now_s += 1
        assert servers.choose("a") is server
        servers.succeeded(server)
        server.in_flight = 1
        assert servers.choose("b") is server

    def test_failures_at_the_same_moment_count_as_one_incident(self) -> None:
        servers, time = a_pool(1)
        for _ in range(50):
            servers.failed(servers.all[0], cause="refused")
        time.now_s += 5
        assert servers.choose("a")

    def test_pause_is_bounded(self) -> None:
        servers, time = a_pool(1)
        for _ in range(500):
            servers.failed(servers.all[0], cause="refused")
            time.now_s += 60
            assert servers.state(servers.all[0]) != "resting"

    def test_a_success_between_failures_keeps_it_closed(self) -> None:
        servers, _ = a_pool(1)
        for _ in range(9):
            servers.failed(servers.all[0], cause="refused")
            servers.failed(servers.all[0], cause="refused")
            servers.succeeded(servers.all[0])
        assert servers.choose("a")


class TestDrain:
    def test_a_draining_server_gets_no_calls_even_as_the_last_one(self) -> None:
        servers, _ = a_pool(2, draining=("http://10.0.0.1:23333",))
        assert {s.number for s in homes(servers).values() if s} == {0}
        assert servers.choose("a", tried=[servers.all[0]]) is None
        assert servers.state(servers.all[1]) == "draining"

    def test_one_that_refuses_is_the_last_choice_for_a_while(self) -> None:
        servers, time = a_pool(2)
        one, other = servers.all
        servers.refused(one)
        assert {s.number for s in homes(servers).values() if s} == {1}
        assert servers.choose("a", tried=[other]) is one, "better than no answer"
        time.now_s += 5
        assert {s.number for s in homes(servers).values() if s} == {0, 1}

    @pytest.mark.parametrize(
        ("given", "kept"),
        [("http://a:1/v1/", ("http://a:1",)), (["http://b:2"], ("http://b:2",)), ([], ())],
    )
    def test_settings(self, given: object, kept: tuple[str, ...]) -> None:
        settings = LlmSettings(base_urls=["http://a:1", "http://b:2/v1"], draining=given)  # type: ignore[arg-type]
        assert settings.draining == kept

    def test_settings_name_a_known_server(self) -> None:
        with pytest.raises(ValidationError, match="keep it in both"):
            LlmSettings(base_urls=["http://a:1"], draining=["http://c:1"])  # type: ignore[arg-type]


class TestHealth:
    def test_says_which_server_is_away_and_what_to_do(self) -> None:
        servers, _ = a_pool(3, draining=("http://10.0.0.2:23333",))
        servers.all[0].is_reachable, servers.all[0].model = True, "qwen3"
        servers.lost(servers.all[1], cause="unauthorized")
        health = servers.health()
        assert health.ok
        assert health.facts["servers"] == "1/3"
        assert health.facts["server_0"] == "usable, qwen3, 0 in flight"
        assert health.facts["server_1"] == "unreachable, unauthorized, 0 in flight"
        assert health.facts["server_2"] == "draining, 0 in flight"
        assert health.detail.startswith("server 1: it refuses our key; set llm.api_key")

    def test_says_that_none_is_left(self) -> None:
        servers, _ = a_pool(1)
        servers.lost(servers.all[0], cause="http_502")
        health = servers.health()
        assert not health.ok
        assert not health.required
        assert health.detail.endswith("serves alone; server 0: http_502")


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
