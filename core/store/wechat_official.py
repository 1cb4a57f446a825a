"""What an Official Account has to remember: its token, what each chat allows, waiting answers.

Every function is a batch function (see `core.store.writer`) unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, func, select, update

from core.store.dialect import insert_ignore
from core.store.tables import (
    IS_UNSENT,
    channel_link,
    conversation,
    outbox,
    staff_task,
    transcript,
    wechat_chat,
    wechat_token,
)
from core.urgency import Urgency, staff_within_ms

# developers.weixin.qq.com, customer-service messages, since 2023: 5 for a message, within 48 h;
# 3 for a menu tap, a follow or a scan, within a minute.
WINDOW_MS, PER_MESSAGE = 48 * 3_600_000, 5
EVENT_WINDOW_MS, PER_EVENT = 60_000, 3

Heard = Literal["message", "event"]
Grant = Literal["message", "event", "used_up", "shut"]


@dataclass(frozen=True, slots=True)
class Chat:
    """One chat of an account, as WeChat names it."""

    channel: str
    account: str
    chat_id: str


_CONVERSATION = select(conversation.c.id).where(
    conversation.c.channel == bindparam("b_channel"),
    conversation.c.account == bindparam("b_account"),
    conversation.c.chat_id == bindparam("b_chat"),
)


def conversation_of(connection: Connection, chat: Chat) -> int | None:
    """Return a chat's conversation, or None when nobody has written there. A plain function."""
    place = {"b_channel": chat.channel, "b_account": chat.account, "b_chat": chat.chat_id}
    return connection.execute(_CONVERSATION, place).scalar()


# -- what a chat allows --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeardFrom:
    """A person did something.

    Attributes:
        chat: where.
        what: wrote a ``message``, or an ``event``: tapped the menu, followed, scanned.
        message_id: WeChat's id; a repeat of it renews nothing.
        at_ms: when, by WeChat's clock.
    """

    chat: Chat
    what: Heard
    message_id: str
    at_ms: int


_CHAT = select(wechat_chat).where(wechat_chat.c.conversation_id == bindparam("b_conversation"))
_RENEW_MESSAGE = (
    update(wechat_chat)
    .where(wechat_chat.c.conversation_id == bindparam("b_conversation"))
    .values(message_at_ms=bindparam("b_at"), message_id=bindparam("b_id"), message_left=PER_MESSAGE)
)
_RENEW_EVENT = (
    update(wechat_chat)
    .where(wechat_chat.c.conversation_id == bindparam("b_conversation"))
    .values(event_at_ms=bindparam("b_at"), event_left=PER_EVENT)
)


def note_heard(connection: Connection, notes: Sequence[HeardFrom]) -> list[None]:
    """Renew what chats allow; of a chat without a conversation nothing is kept."""
    for note in notes:
        conversation_id = conversation_of(connection, note.chat)
        if conversation_id is None:
            continue
        connection.execute(
            insert_ignore(connection, wechat_chat), {"conversation_id": conversation_id}
        )
        row = connection.execute(_CHAT, {"b_conversation": conversation_id}).mappings().one()
        values = {"b_conversation": conversation_id, "b_at": note.at_ms}
        if note.what == "event":
            if note.at_ms > row["event_at_ms"]:
                connection.execute(_RENEW_EVENT, values)
        elif note.at_ms >= row["message_at_ms"] and note.message_id != row["message_id"]:
            connection.execute(_RENEW_MESSAGE, {**values, "b_id": note.message_id})
    return [None] * len(notes)


@dataclass(frozen=True, slots=True)
class Wish:
    """The wish to send one message to a chat now."""

    chat: Chat
    now_ms: int


@dataclass(frozen=True, slots=True)
class Granted:
    """What became of a wish.

    Attributes:
        of: which quota it was taken from; ``used_up`` and ``shut`` mean: not now.
        is_last: nothing more can be sent after it, and more is waiting.
    """

    of: Grant
    is_last: bool = False


_TAKE = {
    "message": update(wechat_chat)
    .where(
        wechat_chat.c.conversation_id == bindparam("b_conversation"),
        wechat_chat.c.message_left > 0,
    )
    .values(message_left=wechat_chat.c.message_left - 1),
    "event": update(wechat_chat)
    .where(
        wechat_chat.c.conversation_id == bindparam("b_conversation"), wechat_chat.c.event_left > 0
    )
    .values(event_left=wechat_chat.c.event_left - 1),
}
_WAITING = (
    select(func.count())
    .select_from(outbox)
    .where(
        outbox.c.conversation_id == bindparam("b_conversation"),
        IS_UNSENT,
        outbox.c.state == "pending",
    )
)


def take(connection: Connection, wishes: Sequence[Wish]) -> list[Granted]:
    """Take one message from what a chat allows, before it is sent."""
    return [_take(connection, wish) for wish in wishes]


def _take(connection: Connection, wish: Wish) -> Granted:
    conversation_id = conversation_of(connection, wish.chat)
    place = {"b_conversation": conversation_id}
    row: Any = connection.execute(_CHAT, place).mappings().first() if conversation_id else None
    if row is None:
        return Granted("shut")
    in_window = wish.now_ms - row["message_at_ms"] < WINDOW_MS
    left = {
        "event": row["event_left"] if wish.now_ms - row["event_at_ms"] < EVENT_WINDOW_MS else 0,
        "message": row["message_left"] if in_window else 0,
    }
    # What lasts a minute goes first.
    for of in ("event", "message"):
        if left[of] > 0 and connection.execute(_TAKE[of], place).rowcount == 1:
            is_last = sum(left.values()) == 1
            waiting = connection.execute(_WAITING, place).scalar_one() if is_last else 0
            return Granted(of, is_last and waiting > 0)
    return Granted("used_up" if in_window else "shut")


@dataclass(frozen=True, slots=True)
class Correction:
    """What WeChat's answer to a send says about our count.

    Attributes:
        chat: where.
        of: the quota it was taken from.
        how: ``return`` = nothing was sent; ``used_up`` and ``shut`` = WeChat says so.
    """

    chat: Chat
    of: Grant
    how: Literal["return", "used_up", "shut"]


def correct(connection: Connection, corrections: Sequence[Correction]) -> list[None]:
    """Bring our count in line with WeChat's."""
    for correction in corrections:
        conversation_id = conversation_of(connection, correction.chat)
        values: dict[str, Any]
        match correction.how:
            case "return" if correction.of == "event":
                values = {"event_left": wechat_chat.c.event_left + 1}
            case "return":
                values = {"message_left": wechat_chat.c.message_left + 1}
            case "used_up":
                values = {"message_left": 0, "event_left": 0}
            case "shut":
                values = {"message_left": 0, "event_left": 0, "message_at_ms": 0, "event_at_ms": 0}
        connection.execute(
            update(wechat_chat)
            .where(wechat_chat.c.conversation_id == conversation_id)
            .values(**values)
        )
    return [None] * len(corrections)


def has_unsent(connection: Connection, chat: Chat) -> bool:
    """Tell whether something waits to be sent to a chat. A plain query."""
    conversation_id = conversation_of(connection, chat)
    query = select(outbox.c.id).where(outbox.c.conversation_id == conversation_id, IS_UNSENT)
    return conversation_id is not None and connection.execute(query.limit(1)).first() is not None


def unfollow(connection: Connection, chats: Sequence[Chat]) -> list[None]:
    """Note that people unfollowed: nothing reaches them until they write or follow again."""
    for chat in chats:
        conversation_id = conversation_of(connection, chat)
        connection.execute(
            update(channel_link)
            .where(channel_link.c.conversation_id == conversation_id)
            .values(active=False)
        )
        connection.execute(
            update(wechat_chat)
            .where(wechat_chat.c.conversation_id == conversation_id)
            .values(message_left=0, event_left=0, message_at_ms=0, event_at_ms=0)
        )
    return [None] * len(chats)


# -- one-time subscriptions ----------------------------------------------------------------------


def subscribe(connection: Connection, chats: Sequence[Chat]) -> list[bool]:
    """Note a consent to one message each; False where there is no conversation."""
    found: list[bool] = []
    for chat in chats:
        conversation_id = conversation_of(connection, chat)
        if conversation_id is not None:
            row = {"conversation_id": conversation_id}
            connection.execute(insert_ignore(connection, wechat_chat), row)
            connection.execute(
                update(wechat_chat)
                .where(wechat_chat.c.conversation_id == conversation_id)
                .values(subscriptions=1)  # WeChat counts consents to one scene once
            )
        found.append(conversation_id is not None)
    return found


def use_subscription(connection: Connection, chats: Sequence[Chat]) -> list[bool]:
    """Use up a consent before its message is sent; False when there is none."""
    return [
        connection.execute(
            update(wechat_chat)
            .where(
                wechat_chat.c.conversation_id == conversation_of(connection, chat),
                wechat_chat.c.subscriptions > 0,
            )
            .values(subscriptions=wechat_chat.c.subscriptions - 1)
        ).rowcount
        == 1
        for chat in chats
    ]


def is_subscribed(connection: Connection, chat: Chat) -> bool:
    """Tell whether a consent is there to be used. A plain query."""
    conversation_id = conversation_of(connection, chat)
    query = select(wechat_chat.c.subscriptions).where(
        wechat_chat.c.conversation_id == conversation_id
    )
    return (connection.execute(query).scalar() or 0) > 0


# -- template messages ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TemplateFailure:
    """WeChat says that a template message it accepted did not arrive."""

    chat: Chat
    platform_id: str
    now_ms: int
    task_sealed: bytes


def template_failed(connection: Connection, failures: Sequence[TemplateFailure]) -> list[bool]:
    """Mark messages as undelivered and give them to staff; False when it is not one of ours."""
    return [_template_failed(connection, failure) for failure in failures]


def _template_failed(connection: Connection, failure: TemplateFailure) -> bool:
    conversation_id = conversation_of(connection, failure.chat)
    row_id = connection.execute(
        select(outbox.c.id)
        .join(transcript, transcript.c.id == outbox.c.transcript_id)
        .where(
            transcript.c.conversation_id == conversation_id,
            outbox.c.platform_id == failure.platform_id,
            outbox.c.state == "sent",
        )
    ).scalar()
    if row_id is None:
        return False
    connection.execute(
        update(outbox)
        .where(outbox.c.id == row_id)
        .values(state="dead", last_error="refused", changed_at_ms=failure.now_ms)
    )
    connection.execute(
        staff_task.insert(),
        {
            "conversation_id": conversation_id,
            "kind": "undelivered",
            "urgency": "same_day",
            "detail_sealed": failure.task_sealed,
            "created_at_ms": failure.now_ms,
            "changed_at_ms": failure.now_ms,
            "deadline_ms": failure.now_ms + staff_within_ms(Urgency.SAME_DAY),
        },
    )
    return True


# -- the access token ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """The stored token; `sealed` is None when there is none yet."""

    sealed: bytes | None = None
    expires_at_ms: int = 0
    fetching_until_ms: int = 0
    forced_at_ms: int = 0


def token_of(connection: Connection, account: str) -> Token:
    """Return what is stored. A plain query."""
    row = connection.execute(
        select(
            wechat_token.c.token_sealed,
            wechat_token.c.expires_at_ms,
            wechat_token.c.fetching_until_ms,
            wechat_token.c.forced_at_ms,
        ).where(wechat_token.c.account == account)
    ).first()
    return Token(*row) if row is not None else Token()


@dataclass(frozen=True, slots=True)
class FetchWish:
    """The wish to be the one who fetches a new token."""

    account: str
    now_ms: int
    until_ms: int


def claim_fetch(connection: Connection, wishes: Sequence[FetchWish]) -> list[bool]:
    """Say who may fetch: one at a time, for so long."""
    results: list[bool] = []
    for wish in wishes:
        connection.execute(insert_ignore(connection, wechat_token), {"account": wish.account})
        changed = connection.execute(
            update(wechat_token)
            .where(
                wechat_token.c.account == wish.account,
                wechat_token.c.fetching_until_ms <= wish.now_ms,
            )
            .values(fetching_until_ms=wish.until_ms)
        )
        results.append(changed.rowcount == 1)
    return results


@dataclass(frozen=True, slots=True)
class Fetched:
    """How fetching ended; without a token the claim is only given back.

    Attributes:
        account: whose.
        sealed: the new token, or None.
        expires_at_ms: when it ends.
        forced_at_ms: when WeChat was made to void the old one, or None.
    """

    account: str
    sealed: bytes | None = None
    expires_at_ms: int = 0
    forced_at_ms: int | None = None


def finish_fetch(connection: Connection, results: Sequence[Fetched]) -> list[None]:
    """Store new tokens and let others fetch again."""
    for result in results:
        values: dict[str, Any] = {"fetching_until_ms": 0}
        if result.sealed is not None:
            values |= {"token_sealed": result.sealed, "expires_at_ms": result.expires_at_ms}
        if result.forced_at_ms is not None:
            values["forced_at_ms"] = result.forced_at_ms
        connection.execute(
            update(wechat_token).where(wechat_token.c.account == result.account).values(**values)
        )
    return [None] * len(results)
