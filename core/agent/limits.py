"""What one answer of the model may cost; apart, so that settings need not load the agent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one answer may cost.

    Attributes:
        session_len: context length of the model in tokens.
        max_completion_tokens: per round.
        temperature: of answers.
        rounds: calls of the model per user message, asking again not counted.
        calls_per_round: tools run in one round.
        result_characters: a longer tool result is cut.
        total_timeout_s: the whole conversation turn, tools included.
    """

    session_len: int = 8192
    max_completion_tokens: int = 1024
    temperature: float = 0.3
    rounds: int = 3
    calls_per_round: int = 4
    result_characters: int = 4000
    total_timeout_s: float = 90.0


USUAL = Limits()
