"""Consent: three separate questions, asked once, changeable at any time, each logged.

Health data first: without it nothing medical is answered, except that an emergency card never waits
for it. Messages that came before are held and answered after "agree", and forgotten after "no".
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

from core.message import AttachmentKind, Language
from core.reply import Bullets, Button, Reply, Text, paragraph, say
from core.texts import text
from core.turn.answer import Answer
from core.turn.state import CONSENTS, ConsentKind, DialogState

_ACTION = "v1:consent:"
_BY_NAME: dict[str, ConsentKind] = {kind: kind for kind in CONSENTS}


_AGREEING = re.compile(r"(我|全部?|都)?同意|好的?|可以|行|是的?|i?agree(toall)?|ok(ay)?|yes|sure")
_REFUSING = re.compile(r"我?不同意|不(行|可以)?|no|disagree|ido(nt|not)agree")


def _all_or_each(language: Language) -> tuple[tuple[Button, ...], ...]:
    return (
        (Button(text(language, "consent.all"), f"{_ACTION}all"),),
        (Button(text(language, "consent.each"), f"{_ACTION}each"),),
        (Button(text(language, "consent.refuse"), f"{_ACTION}none"),),
    )


def _yes_no(language: Language, kind: ConsentKind) -> tuple[tuple[Button, ...], ...]:
    return (
        (
            Button(text(language, "consent.agree"), f"{_ACTION}yes:{kind}"),
            Button(text(language, "consent.disagree"), f"{_ACTION}no:{kind}"),
        ),
    )


def ask(language: Language, *, welcome: bool, kept: bool) -> Reply:
    """Ask for all three, each listed; `kept` says that a message waits for the answer."""
    items = Bullets(
        tuple((Text(text(language, f"consent.items.{kind}")),) for kind in CONSENTS), ordered=True
    )
    opening = [paragraph(text(language, "turn.welcome"))] if welcome else []
    closing = [paragraph(text(language, "consent.kept"))] if kept else []
    return Reply(
        "consent",
        (
            *opening,
            paragraph(text(language, "consent.ask")),
            items,
            *closing,
            paragraph(text(language, "turn.disclaimer")),
        ),
        _all_or_each(language),
    )


def ask_all(answer: Answer, *, welcome: bool, kept: bool) -> None:
    """Ask, and remember that we did: the long question comes once."""
    answer.say(ask(answer.language, welcome=welcome, kept=kept))
    answer.remember(asking="all")


def ask_again(language: Language) -> Reply:
    """Say that nothing goes on without an answer, with the same choices."""
    words = text(language, "consent.still_needed")
    return say("consent", words, buttons=_all_or_each(language))


def typed_answer(words: str, state: DialogState) -> str | None:
    """Return the action of a plain "I agree" or "no" to the open consent question."""
    if "health" in state.consents or not any(a.startswith(_ACTION) for _, a in state.offered):
        return None
    plain = "".join(c for c in words.casefold() if c.isalnum())
    if _AGREEING.fullmatch(plain):
        return f"{_ACTION}all"
    return f"{_ACTION}none" if _REFUSING.fullmatch(plain) else None


def ask_one(language: Language, kind: ConsentKind, *, key: str | None = None) -> Reply:
    """Ask for one consent alone."""
    words = text(language, key or f"consent.ask_{kind}")
    return say("consent", words, buttons=_yes_no(language, kind))


def record(answer: Answer, kind: ConsentKind, *, granted: bool, proxy: bool = False) -> None:
    """Keep a decision in the state and in the log.

    Args:
        answer: the turn.
        kind: what was decided about.
        granted: agreed.
        proxy: said for somebody else, who agrees or whose guardian the writer is; the log keeps
            that wording's version.
    """
    version = text(answer.language, "consent.version")
    answer.remember(consents={**answer.state.consents, kind: granted})
    answer.consents.append(
        {
            "kind": kind,
            "granted": granted,
            "text_version": f"{version}/proxy" if proxy else version,
            "at_ms": answer.now_ms,
        }
    )


def on_button(answer: Answer, action: str) -> bool:
    """Handle a consent button; True when held messages are to be answered now.

    Each button is about what was asked, so pressing an old one again repeats a decision and
    changes nothing else.
    """
    verb, _, kind = action.removeprefix(_ACTION).partition(":")
    if verb == "all":
        for each in CONSENTS:
            record(answer, each, granted=True)
        answer.remember(asking=None)
        return _thank(answer)
    if verb == "each":
        answer.remember(asking="health")
        answer.say(ask_one(answer.language, "health"))
        return False
    if verb == "none":
        return _refuse(answer)
    decided = _BY_NAME.get(kind)
    if decided is None or verb not in ("yes", "no"):
        answer.say(say("notice", text(answer.language, "turn.button_old")))
        return False
    return _decide(answer, decided, granted=verb == "yes")


def _decide(answer: Answer, kind: ConsentKind, *, granted: bool) -> bool:
    record(answer, kind, granted=granted)
    if kind == "health" and not granted:
        return _refuse(answer)
    if kind == "photos" and not granted:
        _drop_held_pictures(answer)
    if answer.state.asking == kind:  # one of the three in a row
        following = dict(pairwise(CONSENTS)).get(kind)
        if following:
            answer.remember(asking=following)
            answer.say(ask_one(answer.language, following))
            return False
        answer.remember(asking=None)
        return _thank(answer)
    return bool(answer.state.held) or _thank(answer)


def _drop_held_pictures(answer: Answer) -> None:
    """Only pictures were waiting for this consent; what was written or said is answered."""
    held = answer.state.held
    voices = [_voices(data) for _, _, data in held]
    pairs = list(zip(held, voices, strict=True))
    if any(len(kept) < len(data.get("attachments", ())) for (_, _, data), kept in pairs):
        answer.say(say("notice", text(answer.language, "consent.photos_refused")))
    answer.remember(
        held=tuple(
            (message_id, inbox_id, data | {"attachments": kept})
            for (message_id, inbox_id, data), kept in pairs
            if data["text"] or kept
        )
    )


def _voices(message: dict[str, Any]) -> list[Any]:
    return [a for a in message.get("attachments", ()) if a[0] == AttachmentKind.VOICE]


def _thank(answer: Answer) -> bool:
    if not answer.state.held:
        words = (
            text(answer.language, "consent.thanks"),
            text(answer.language, "turn.ask_anything"),
        )
        answer.say(say("consent", " ".join(words)))
    return bool(answer.state.held)


def _refuse(answer: Answer) -> bool:
    if answer.state.consents.get("health") is not False or not answer.consents:
        record(answer, "health", granted=False)
    answer.remember(held=(), asking=None, consult=None, recent=(), facts=(), known={}, advice=None)
    answer.say(say("consent", text(answer.language, "consent.refused")))
    return False


def privacy(answer: Answer) -> None:
    """Show the notice, the present choices and the buttons that take them back."""
    language, state = answer.language, answer.state
    words = {
        kind: text(language, "consent.granted" if state.granted(kind) else "consent.not_granted")
        for kind in CONSENTS
    }
    notice = text(language, "consent.privacy", version=text(language, "consent.version"), **words)
    rows = tuple(
        (Button(text(language, f"consent.withdraw_{kind}"), f"v1:privacy:{kind}"),)
        for kind in ("photos", "reminders", "health")
        if state.granted(kind)
    )
    answer.say(say("notice", notice, buttons=rows))


def withdraw(answer: Answer, action: str) -> None:
    """Take a consent back (``v1:privacy:<kind>``); health data takes all three along."""
    kind = _BY_NAME.get(action.rpartition(":")[2])
    if kind is None:
        answer.say(say("notice", text(answer.language, "turn.button_old")))
        return
    for each in CONSENTS if kind == "health" else (kind,):
        if answer.state.granted(each):
            record(answer, each, granted=False)
    if kind == "health":
        answer.state = replace(
            answer.state, recent=(), facts=(), consult=None, held=(), known={}, advice=None
        )
    answer.say(say("notice", text(answer.language, "consent.withdrawn")))
