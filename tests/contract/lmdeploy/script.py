"""What the scripted engine says: rules, as data that both environments understand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """The output for the prompts that contain `match`.

    Attributes:
        text: raw output, markers and thoughts included.
        match: part of the prompt as the template rendered it; empty = every prompt.
        tokens_per_step: tokens the engine hands over at once.
        first_step_s: pause before the first step (the prefill).
        step_s: pause before every step.
        fault: after `fault_after_steps` steps: "hang", "raise" (an error in the engine's code),
            "crash" (the process dies), or the name of a `lmdeploy.messages.ResponseType`.
        fault_after_steps: see `fault`.
    """

    text: str = "好的。"
    match: str = ""
    tokens_per_step: int = 1
    first_step_s: float = 0.0
    step_s: float = 0.0
    fault: str | None = None
    fault_after_steps: int = 0


def choose(rules: Iterable[Rule], prompt: str) -> Rule:
    """Return the first rule that matches, or the rule of a model that only says yes."""
    return next((rule for rule in rules if rule.match in prompt), Rule())
