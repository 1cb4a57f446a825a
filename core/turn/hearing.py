"""What the messages of one turn say together, and messages that wait for consent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.gather import Waiting, from_json, to_json
from core.message import Address, Attachment, AttachmentKind, Inbound, Language
from core.store.hand_back import is_replay
from core.turn.answer import Answer
from core.turn.photos import Sent, is_picture
from core.turn.state import DialogState
from core.turn.words import language_of, spoken_language

_BESIDE = ":pictures"

# A message with its place in the inbox.
Message = tuple[Waiting, Inbound]


@dataclass(frozen=True, slots=True)
class Heard:
    """What the messages of this turn say together.

    Attributes:
        words: everything written, or written down by the messenger.
        button: the action of a pressed button, or None.
        attachments: pictures.
        voices: recordings to keep.
        unheard: a recording is among them of which nobody wrote down what it says.
        other_attachments: something came that nobody here can read or hear.
    """

    words: str
    button: str | None
    attachments: tuple[Sent, ...]
    voices: tuple[Sent, ...]
    unheard: bool
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


def _is_unheard(attachment: Attachment) -> bool:
    return attachment.kind is AttachmentKind.VOICE and not attachment.transcribed


def beside_the_words(inbounds: Sequence[Message]) -> list[Inbound]:
    """Return what came with the words and has no answer yet, for a turn of its own."""
    found: list[Inbound] = []
    for _, message in inbounds:
        rest = tuple(
            a for a in message.attachments if a.kind is not AttachmentKind.VOICE or _is_unheard(a)
        )
        if rest:
            found.append(
                replace(message, text="", attachments=rest, message_id=message.message_id + _BESIDE)
            )
    return found


def sent_as(message_id: str) -> str:
    """Return the id under which the patient's page or messenger knows a message."""
    return message_id.removesuffix(_BESIDE)


def not_allowed(
    held: Sequence[tuple[str, int, dict[str, Any]]], address: Address, state: DialogState
) -> list[Attachment]:
    """Return the attachments of held messages that consent was not given for."""
    return [
        attachment
        for message_id, _, data in held
        for attachment in from_json(data, address, message_id).attachments
        if not state.granted("health" if attachment.kind is AttachmentKind.VOICE else "photos")
    ]


def holding(state: DialogState, inbounds: Sequence[Message]) -> DialogState:
    """Return the state with the messages kept for after consent."""
    for waiting, message in inbounds:
        state = state.holding(waiting.message_id, waiting.inbox_id, to_json(message))
    return state


def hear(inbounds: Sequence[Message]) -> Heard:
    """Put the messages of a turn together."""
    pictures: list[Sent] = []
    voices: list[Sent] = []
    unheard = others = False
    for waiting, inbound in inbounds:
        for position, attachment in enumerate(inbound.attachments):
            sent = Sent(waiting.inbox_id, position, attachment, inbound.text)
            if is_picture(attachment):
                pictures.append(sent)
            elif attachment.kind is AttachmentKind.VOICE:
                unheard = unheard or _is_unheard(attachment)
                if not is_replay(waiting.message_id):  # it was kept when it came
                    voices.append(sent)
            else:
                others = True
    words = "\n".join(i.text for _, i in inbounds if i.text.strip())
    return Heard(words, inbounds[0][1].button, tuple(pictures), tuple(voices), unheard, others)


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
