"""What our client makes of llama.cpp and transformers, which really run a tiny model.

The model knows one sentence (`tests.contract.lmdeploy.tiny`), so what differs is the server.
"""

from __future__ import annotations

from tests.contract.llm.scenarios import PHOTO, QUESTION, Outcome, Scenario
from tests.contract.lmdeploy.tiny import SENTENCE

_TOO_LONG = (QUESTION[0], *(QUESTION[1],) * 30)


def scenarios(name: str) -> dict[str, Scenario]:
    """Return what to play against one of `others.OTHERS`."""
    # `transformers serve` names no model and refuses fields it does not know, so it is asked twice.
    model = {} if name == "llama_cpp" else {"model": "tiny-eye"}
    asked = 1 if name == "llama_cpp" else 2
    # llama.cpp's Python server ends the stream without a word, transformers does not mind.
    overflow = Outcome(error="ModelUnavailable", asked=asked)
    if name == "transformers":
        overflow = Outcome(SENTENCE, finish="stop", asked=asked)
    played = (
        Scenario("answer", Outcome(SENTENCE, finish="stop", asked=asked), settings=model),
        Scenario(
            "answer_with_tools_offered",
            Outcome(SENTENCE, finish="stop", asked=asked),
            tools=(PHOTO,),
            settings=model,
        ),
        Scenario(
            "agent",
            Outcome(SENTENCE, asked=asked),
            by="agent",
            tools=(PHOTO,),
            settings=model,
        ),
        Scenario(
            "token_limit",
            Outcome(SENTENCE[:5], finish="length", asked=asked),
            settings=model,
            request={"max_completion_tokens": 5},
        ),
        Scenario(
            "stop_string",
            Outcome("请闭眼休息", finish="stop", asked=asked),
            settings={**model, "stop": ("，少",)},
        ),
        Scenario(
            "context_overflow",
            overflow,
            settings=model,
            messages=_TOO_LONG,
        ),
    )
    return {s.name: s for s in played}
