"""A turn while staff answer: triage goes on, everything else is theirs.

Nothing is said here but the emergency card, the question behind a doubtful red flag, and what the
patient's own buttons and commands ask for. The interview and the plan stay as they are until the
conversation is handed back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.reply import from_json, paragraph, plain_text
from core.store.due import DueReminder
from core.store.hand_back import SaidRow
from core.store.history import PATIENT_BODY, SERVICE_BODY
from core.store.keyring import Keyring
from core.texts import text
from core.turn.answer import Answer
from core.turn.state import DialogState

# Buttons of the interview and "ask staff": while a person answers, pressing them is words to them.
FOR_STAFF = frozenset({"ask", "staff"})
_REMINDER_LATER_MS = 30 * 60_000


def remembering(state: DialogState, rows: Sequence[SaidRow], keys: Keyring) -> DialogState:
    """Return the state with the last exchanges as the transcript has them, staff's words too.

    Triage reads a "yes" in the light of what was asked before it, whoever asked.
    """
    said: list[tuple[str, str]] = []
    since = 0
    for author, kind, body_sealed in rows:
        if kind == "notice":
            continue  # about the service; nobody answers it, and triage must not read it
        if author == "patient":
            words = keys.open_json(PATIENT_BODY, body_sealed)["text"]
        else:
            words = plain_text(from_json(keys.open_json(SERVICE_BODY, body_sealed)))
        if not words:
            continue
        said.append(("patient" if author == "patient" else "service", words))
        since = 0 if kind == "emergency" else since + 1
    plain = replace(state, recent=(), since_emergency=0)
    for author, words in said:
        plain = plain.with_exchange(author, words)
    return replace(plain, since_emergency=since)


def say_a_person_is_there(answer: Answer) -> None:
    """Add to the card that somebody of the clinic reads along; the card itself stays as it is."""
    for number, reply in enumerate(answer.replies):
        if reply.kind == "emergency":
            line = paragraph(text(answer.language, "handoff.person_too"))
            answer.replies[number] = replace(reply, blocks=(*reply.blocks, line))
            return


def put_off(answer: Answer, due: DueReminder | None) -> bool:
    """Say a reminder later, when nobody is in the middle of talking; False = handle it now."""
    if due is None or due.plan_state != "active" or due.step == "staff_call":
        return False
    answer.reminder_done = due.id
    answer.reminder_again_ms = answer.now_ms + _REMINDER_LATER_MS
    answer.outcome = "ignored"
    return True
