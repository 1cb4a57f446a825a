"""The login code where somebody looks at a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from adapters.wechat.wechaty.supervisor import show_in_terminal


class _Terminal(io.StringIO):
    def __init__(self, *, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


@pytest.mark.parametrize("tty", [True, False])
def test_a_terminal_shows_the_code_and_a_log_file_does_not(
    monkeypatch: pytest.MonkeyPatch, tty: bool
) -> None:
    terminal = _Terminal(tty=tty)
    monkeypatch.setattr(sys, "stderr", terminal)
    show_in_terminal("https://login.weixin.qq.com/l/abc")
    drawn = terminal.getvalue()
    assert (len(drawn.splitlines()) > 10) == tty
    assert "weixin" not in drawn
