from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.wechat.ilink.allowance import allowance, limit, pause_s
from adapters.wechat.ilink.channel import client_id
from adapters.wechat.ilink.logins import Context, Login
from adapters.wechat.ilink.settings import IlinkSettings

SETTINGS = IlinkSettings()
LOGIN = Login(1, "alice", "bot", "https://x", b"", None, "active", 0)
HOUR_MS = 3_600_000


def context(*, sent: int = 0, refused: int = 0) -> Context:
    return Context(1, b"", 0, sent, refused, LOGIN)


@pytest.mark.parametrize(
    ("found", "age_ms", "urgent", "expected"),
    [
        (None, 0, False, "ended"),
        (context(), 0, False, "open"),
        (context(), 23 * HOUR_MS, False, "open"),
        (context(), 23 * HOUR_MS + 1, False, "ended"),
        (context(), 23 * HOUR_MS + 1, True, "ended"),
        (context(sent=7), 0, False, "open"),
        (context(sent=8), 0, False, "used_up"),
        (context(sent=8), 0, True, "open"),
        (context(sent=10), 0, True, "used_up"),
        (context(refused=2), 0, False, "open"),
        (context(refused=3), 0, False, "used_up"),
        (context(refused=3), 0, True, "used_up"),
        (context(sent=10), 24 * HOUR_MS, False, "ended"),
        # WeChat's clock may be ahead of ours.
        (context(), -5_000, False, "open"),
    ],
)
def test_what_a_message_allows(
    found: Context | None, age_ms: int, urgent: bool, expected: str
) -> None:
    assert allowance(found, age_ms, SETTINGS, urgent=urgent) == expected


@given(st.integers(1, 30), st.integers(0, 30))
def test_one_message_is_always_possible_and_emergencies_have_them_all(
    messages: int, kept: int
) -> None:
    settings = IlinkSettings(messages_per_context=messages, kept_for_emergencies=kept)
    assert 1 <= limit(settings, urgent=False) <= limit(settings, urgent=True) == messages


@given(st.integers(0, 1000))
def test_pauses_grow_and_end(refusals: int) -> None:
    for reason in ("", "rate limited", "prepare failed"):
        assert 0 < pause_s(refusals, reason) <= pause_s(refusals + 1, reason) <= 600
    assert pause_s(1, "rate limited") == 30
    assert pause_s(1, "") == 5


@given(st.text(), st.text(), st.text())
def test_a_message_has_one_name_for_ever(user: str, key: str, other: str) -> None:
    assert client_id(user, key) == client_id(user, key)
    assert (client_id(user, key) == client_id(user, other)) == (key == other)


@pytest.mark.parametrize(
    "values",
    [
        {"base_url": "http://ilinkai.weixin.qq.com"},
        {"cdn_url": "ftp://x"},
        {"context_hours": 25},
        {"messages_per_context": 0},
        {"most_logins": 0},
        {"token": "x"},
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        IlinkSettings.model_validate(values)


def test_addresses_end_without_a_slash() -> None:
    assert IlinkSettings(base_url="https://x.example/").base_url == "https://x.example"
