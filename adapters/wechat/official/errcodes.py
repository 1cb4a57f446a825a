"""WeChat's return codes, by what we do about them (developers.weixin.qq.com, return codes)."""

from __future__ import annotations

from enum import Enum


class Do(Enum):
    """What an answer that is not 0 asks of us."""

    TRY_AGAIN = "busy: again in a moment, a few times"
    RENEW_TOKEN = "the token is void: another one, and once more"  # noqa: S105 no secret
    CONFIGURE = "an operator must act"
    WAIT_FOR_WINDOW = "the 48-hour window is shut: another way, or wait until they write"
    WAIT_FOR_MESSAGE = "this message's quota is used: wait until they write"
    WAIT_FOR_TOMORROW = "the day's quota is used: slow down"
    WAIT_A_MINUTE = "too many this minute: slow down"
    NOT_PERMITTED = "this account may not: do without"
    GIVE_UP_CHAT = "the person is not there: unlink"
    NO_CONSENT = "the person has not agreed to this message: another way"
    NEW_MEDIA = "the media id is bad or over: upload again"
    SHORTEN = "too long: this message never goes"
    REFUSE = "not acceptable as it is: this message never goes"


_MEANING: dict[int, Do] = {
    -1: Do.TRY_AGAIN,
    40001: Do.RENEW_TOKEN,  # also: wrong secret, when asking for a token
    40014: Do.RENEW_TOKEN,
    41001: Do.RENEW_TOKEN,  # no token in the request
    42001: Do.RENEW_TOKEN,
    42007: Do.RENEW_TOKEN,
    40002: Do.CONFIGURE,
    40013: Do.CONFIGURE,  # wrong app id
    40125: Do.CONFIGURE,  # wrong secret
    40164: Do.CONFIGURE,  # our address is not on the whitelist
    40243: Do.CONFIGURE,  # the secret is frozen
    41002: Do.CONFIGURE,
    41004: Do.CONFIGURE,
    50002: Do.CONFIGURE,  # the account is limited
    61004: Do.CONFIGURE,
    89503: Do.CONFIGURE,  # an administrator must confirm the address
    89506: Do.CONFIGURE,
    89507: Do.CONFIGURE,
    40003: Do.GIVE_UP_CHAT,  # not an openid of this account
    43004: Do.GIVE_UP_CHAT,  # does not follow
    43019: Do.GIVE_UP_CHAT,  # blocked by the account's own blacklist
    40004: Do.REFUSE,  # not a kind of media
    40005: Do.REFUSE,
    40006: Do.REFUSE,  # media of no good size
    40007: Do.NEW_MEDIA,
    40009: Do.REFUSE,  # picture too large
    45001: Do.REFUSE,  # media too large
    40037: Do.CONFIGURE,  # no such template
    41028: Do.CONFIGURE,
    47003: Do.CONFIGURE,  # the template has other fields
    43101: Do.NO_CONSENT,
    43107: Do.NOT_PERMITTED,  # subscription messages are blocked
    45002: Do.SHORTEN,
    45008: Do.SHORTEN,
    45009: Do.WAIT_FOR_TOMORROW,
    45011: Do.WAIT_A_MINUTE,
    45015: Do.WAIT_FOR_WINDOW,
    45047: Do.WAIT_FOR_MESSAGE,
    48001: Do.NOT_PERMITTED,
    48002: Do.GIVE_UP_CHAT,  # they refuse messages
    48003: Do.CONFIGURE,
    48004: Do.NOT_PERMITTED,
    48006: Do.WAIT_FOR_TOMORROW,  # resetting counters is used up
    50001: Do.NOT_PERMITTED,
}


def meaning(code: int) -> Do:
    """Return what to do about a code; one we do not know never goes, so that staff see it."""
    return _MEANING.get(code, Do.REFUSE)
