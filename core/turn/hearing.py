"""What the messages of one turn say together, and messages that wait for consent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.gather import Waiting, from_json, to_json
from core.message import Address, Attachment, Inbound, Language
from core.turn.answer import Answer
from core.turn.photos import Sent, is_picture
from core.turn.state import DialogState
from core.turn.words import language_of, spoken_language

# A message with its place in the inbox.
Message = tuple[Waiting, Inbound]


@dataclass(frozen=True, slots=True)
class Heard:
    """What the messages of this turn say together."""

    words: str
    button: str | None
    attachments: tuple[Sent, ...]
    other_attachments: bool


def unheld(
    held: Sequence[tuple[str, int, dict[str, Any]]], address: Address, now_ms: int
) -> list[Message]:
    """Return the messages that waited for consent."""
    return [
        (Waiting(inbox_id, message_id, data["sequence"], now_ms, message), message)
        for message_id, inbox_id, data in held
        for message in (from_json(data, address, message_id),)
    ]


def pictures_alone(message: Inbound) -> Inbound:
    """Return the message without its words, for a turn of its own."""
    return replace(message, text="", message_id=f"{message.message_id}:pictures")


def pictures_of(
    held: Sequence[tuple[str, int, dict[str, Any]]], address: Address
) -> list[Attachment]:
    """Return the attachments of held messages."""
    return [
        attachment
        for message_id, _, data in held
        for attachment in from_json(data, address, message_id).attachments
    ]


def holding(state: DialogState, inbounds: Sequence[Message]) -> DialogState:
    """Return the state with the messages kept for after consent."""
    for waiting, message in inbounds:
        state = state.holding(waiting.message_id, waiting.inbox_id, to_json(message))
    return state


def hear(inbounds: Sequence[Message]) -> Heard:
    """Put the messages of a turn together."""
    pictures: list[Sent] = []
    others = False
    for waiting, inbound in inbounds:
        for position, attachment in enumerate(inbound.attachments):
            if is_picture(attachment):
                pictures.append(Sent(waiting.inbox_id, position, attachment, inbound.text))
            else:
                others = True
    words = "\n".join(i.text for _, i in inbounds if i.text.strip())
    return Heard(words, inbounds[0][1].button, tuple(pictures), others)


def settle_language(answer: Answer, words: str, message: Inbound, default: Language) -> None:
    """Answer in the language of the words; a language that was chosen stays."""
    if answer.state.language is None:
        found = language_of(words, message.language_hint, default)
    elif answer.state.language_chosen:
        found = None
    else:
        found = spoken_language(words)
    if found is not None and found != answer.state.language:
        answer.remember(language=found)
        answer.language = found
