"""Asking which eye a photo shows, where neither words nor file nor picture tell it.

The question hangs on the answer to the photo as buttons and waits for nothing: whoever does not
answer it is asked nothing else because of it. An answer goes into the stored reading, so that staff
and follow-ups know the side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.message import Language
from core.reading import Eye
from core.reply import Bold, Button, Paragraph, Reply
from core.reply import say as say_plainly
from core.texts import text
from core.turn.answer import Answer

_ACTION = "v1:eye:"
_EYES: dict[str, Eye] = {"right": "OD", "left": "OS"}
_MOST = 4  # questions; an album of ten is for staff to sort

Place = tuple[int, int]


def say(answer: Answer, replies: Sequence[Reply]) -> None:
    """Say the answer to the photos of this turn, with the question if it has to be asked."""
    numbers = [
        (row["inbox_id"], row["position"], number if len(answer.photos) > 1 else 0)
        for number, row in enumerate(answer.photos, start=1)
        if (reading := row["reading"]) and reading["outcome"] == "assessed" and not reading["eye"]
    ]
    answer.remember(eye_open=tuple(numbers[:_MOST]))
    if numbers:
        last = replies[-1]
        asked = Paragraph((Bold(_question(answer.language, numbers[0][2])),))
        last = replace(last, blocks=(*last.blocks, asked), buttons=_buttons(answer.language))
        replies = (*replies[:-1], last)
    answer.say(*replies)


def open_place(answer: Answer) -> Place | None:
    """Return the inbox id and position of the photo that the open question is about."""
    waiting = answer.state.eye_open
    return (waiting[0][0], waiting[0][1]) if waiting else None


def answered(
    answer: Answer, action: str, photo_id: int | None, reading: dict[str, Any] | None
) -> None:
    """Take the answer to the open question, and ask about the next photo.

    Args:
        answer: of this turn.
        action: of the button.
        photo_id: of the photo at `open_place`, or None when it is gone.
        reading: its stored reading.
    """
    language = answer.language
    verb = action.removeprefix(_ACTION)
    if photo_id is None or reading is None:
        answer.remember(eye_open=())
        answer.say(say_plainly("notice", text(language, "eyes.gone")))
        return
    eye = _EYES.get(verb)
    if eye is not None:
        answer.readings.append((photo_id, {**reading, "eye": eye, "eye_from": "caption"}))
    waiting = answer.state.eye_open[1:]
    answer.remember(eye_open=waiting)
    noted = text(language, f"eyes.noted_{eye or 'unknown'}")
    if not waiting:
        answer.say(say_plainly("answer", noted))
        return
    asked = _question(language, waiting[0][2])
    answer.say(say_plainly("question", noted, asked, buttons=_buttons(language)))


def _question(language: Language, number: int) -> str:
    return text(language, "eyes.ask_nth", n=number) if number else text(language, "eyes.ask")


def _buttons(language: Language) -> tuple[tuple[Button, ...], ...]:
    right, left, unknown = (
        Button(text(language, f"eyes.{verb}"), f"{_ACTION}{verb}")
        for verb in ("right", "left", "unknown")
    )
    return ((right, left), (unknown,))
