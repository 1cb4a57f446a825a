"""What the model is told, and the one tool that reads photos."""

from __future__ import annotations

import pytest

from core.agent import schema
from core.agent.prompt import Passage, system_prompt
from core.agent.tools import findings_text, read_fundus_photo
from core.message import LANGUAGES, Language
from core.reading import CONDITIONS, Finding, Outcome, Reading, RetakeCause
from core.texts import catalogue
from core.urgency import Urgency


def a_reading(outcome: Outcome = "assessed", retake: tuple[RetakeCause, ...] = ()) -> Reading:
    findings = tuple(
        Finding(c, "refer" if c == "dr" else "not_assessed", 0.91 if c == "dr" else None)
        for c in CONDITIONS
    )
    return Reading(outcome, findings, 2, "OD", 0.99, 0.9, retake, "m-1.0", "cpu", 10, 10)


@pytest.mark.parametrize("language", LANGUAGES)
def test_prompt_holds_what_is_known_behind_a_fixed_start(language: Language) -> None:
    bare = system_prompt(language)
    full = system_prompt(
        language,
        summary="糖尿病10年",
        findings=("p1: DR 2",),
        passages=(Passage("KB07", "糖网", "每年查眼底"),),
        open_urgency=Urgency.SAME_DAY,
    )
    assert full.startswith(bare)
    for part in ("糖尿病10年", "p1: DR 2", "每年查眼底"):
        assert part in full
    assert catalogue(language)["agent.prompt.urgency.same_day"] in full
    assert "{" not in full


def test_passages_stay_within_their_room_and_whole() -> None:
    passages = [Passage(f"KB0{n}", f"文{n}", "字" * 100) for n in range(9)]
    prompt = system_prompt("zh-Hans", passages=passages, passage_tokens=250)
    assert prompt.count("字" * 100) == 2
    assert "文2" not in prompt


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("outcome", ["assessed", "not_fundus", "ungradable"])
def test_findings_say_every_outcome(language: Language, outcome: Outcome) -> None:
    causes: tuple[RetakeCause, ...] = (
        "blur", "dark", "bright", "reflection", "off_centre", "too_small", "screen",
    )  # fmt: skip
    said = findings_text(a_reading(outcome, causes if outcome == "ungradable" else ()), language)
    assert "{" not in said
    assert ("91%" in said) == (outcome == "assessed")
    assert ("m-1.0" in said) == (outcome == "assessed")
    if outcome == "assessed":
        not_assessed = catalogue(language)["agent.reading.decision.not_assessed"]
        assert said.count(not_assessed) == 4, "what was not looked at is said, not left out"


async def test_tool_reads_only_listed_photos() -> None:
    asked: list[str] = []

    async def read(photo_id: str) -> Reading:
        asked.append(photo_id)
        return a_reading()

    assert read_fundus_photo((), read, language="zh-Hans") is None
    tool = read_fundus_photo(("p1", "p2"), read, language="zh-Hans")
    assert tool
    for wrong in ("p3", "../p1", "path/to/your/fundus/image", ""):
        assert schema.problem({"photo_id": wrong}, tool.spec)
        assert (await tool.run({"photo_id": wrong})).startswith("error")
    assert asked == []
    assert schema.problem({"photo_id": "p2"}, tool.spec) is None
    assert "91%" in await tool.run({"photo_id": "p2"})
    assert asked == ["p2"]


@pytest.mark.parametrize(
    "value",
    ["path/to/your/fundus/image", "<photo_id>", "{photo_id}", "your_image.png", "example.png",
     "...", "None", "图片路径", "placeholder"],
)  # fmt: skip
def test_placeholders_are_recognised(value: str) -> None:
    assert schema.is_placeholder(value)


@pytest.mark.parametrize(
    "value", ["p1", "eye_01.png", "干眼怎么办", "青光眼能治吗？", "photo 3", 7]
)
def test_real_values_are_no_placeholders(value: object) -> None:
    assert not schema.is_placeholder(value)


def test_problem_never_repeats_a_value() -> None:
    tool = read_fundus_photo(("p1",), None, language="en")  # type: ignore[arg-type]
    assert tool
    assert "SECRET" not in str(schema.problem({"photo_id": "SECRET"}, tool.spec))
