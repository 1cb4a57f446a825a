from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from core.reading import CONDITIONS, Decision, Finding, Outcome, Reading
from models.fundus.evaluation import figures, page
from models.fundus.evaluation.labels import LabelledPhoto, read_labels
from models.fundus.evaluation.predict import COLUMNS, Prediction, row, write_head, write_row
from models.fundus.evaluation.questions import EVERY, Result, measure, to_json
from models.fundus.manifest import load
from models.fundus.settings import PACKAGED_WEIGHTS


def a_reading(
    outcome: Outcome = "assessed",
    *,
    dr: float | None = None,
    grade: int | None = None,
    fundus: float = 0.99,
    decision: Decision = "refer",
) -> Reading:
    findings = tuple(
        Finding(c, decision, dr) if c == "dr" and dr is not None else Finding(c, "not_assessed")
        for c in CONDITIONS
    )
    at_least = (0.9, 0.8, 0.25, 0.1) if grade is not None else ()
    return Reading(
        outcome, findings, grade, None, fundus, 0.9, (), "m 1", "CPU", 9, 9, dr_at_least=at_least
    )


def a_photo(file: str, *, source: str = "a", group: str = "", **known: object) -> LabelledPhoto:
    return LabelledPhoto(file, Path(file), source, group or file, **known)  # type: ignore[arg-type]


def by_pairs(score: list[float], truth: list[int]) -> float:
    """The area by its definition: every positive against every negative."""
    won = [
        (p > n) + 0.5 * (p == n)
        for p, tp in zip(score, truth, strict=True)
        for n, tn in zip(score, truth, strict=True)
        if tp == 1 and tn == 0
    ]
    return sum(won) / len(won)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=2, max_size=40))
def test_auc_is_the_share_of_pairs_won(rows: list[tuple[int, int]]) -> None:
    score = np.array([s / 5 for s, _ in rows])
    truth = np.array([t for _, t in rows])
    found = figures.auc(score, truth, [str(n) for n in range(len(rows))])
    if len(set(truth)) < 2:
        assert math.isnan(found.value)
        return
    assert found.value == pytest.approx(by_pairs(list(score), list(truth)))
    assert found.n == len(rows)
    if not math.isnan(found.low):
        assert 0 <= found.low <= found.high <= 1


def test_the_interval_resamples_patients_not_photos() -> None:
    rng = np.random.default_rng(3)
    score = rng.random(60)
    truth = (score + rng.normal(0, 0.5, 60) > 0.5).astype(int)
    alone = figures.auc(score, truth, [str(n) for n in range(60)])
    tenfold = figures.auc(
        np.repeat(score, 10), np.repeat(truth, 10), [str(n // 10) for n in range(600)]
    )
    # Ten copies of one photo are still one patient: no narrower.
    assert tenfold.value == pytest.approx(alone.value)
    assert tenfold.high - tenfold.low == pytest.approx(alone.high - alone.low, rel=1e-9)
    assert alone.high - alone.low > 0.1
    again = figures.auc(score, truth, [str(n) for n in range(60)])
    assert again == alone


def test_roc_encloses_the_same_area() -> None:
    rng = np.random.default_rng(5)
    score = rng.integers(0, 9, 200) / 9
    truth = (rng.random(200) < score).astype(int)
    curve = figures.roc(score, truth)
    assert (curve.false_positive_rate[0], curve.sensitivity[0]) == (0, 0)
    assert (curve.false_positive_rate[-1], curve.sensitivity[-1]) == (1, 1)
    area = np.trapezoid(curve.sensitivity, curve.false_positive_rate)
    assert area == pytest.approx(figures.auc(score, truth, list("x" * 200)).value)


def test_wilson_as_in_his_paper() -> None:
    found = figures.rate(81, 263)  # Newcombe 1998, table I: .2553 to .3662
    assert found.value == pytest.approx(81 / 263)
    assert found.low == pytest.approx(0.2553, abs=1e-4)
    assert found.high == pytest.approx(0.3662, abs=1e-4)
    assert figures.rate(0, 10).low == 0
    assert figures.rate(10, 10).high == pytest.approx(1)
    assert math.isnan(figures.rate(0, 0).value)


def test_kappa_of_known_tables() -> None:
    groups = [str(n) for n in range(50)]
    # Cohen 1960: 20 and 15 agreed of 50, chance one half: 0.4.
    first = np.array([1] * 25 + [0] * 25)
    second = np.array([1] * 20 + [0] * 5 + [1] * 10 + [0] * 15)
    assert figures.weighted_kappa(first, second, groups, classes=2).value == pytest.approx(0.4)
    grade = np.arange(50) % 5
    assert figures.weighted_kappa(grade, grade, groups, classes=5).value == 1
    reversed_ = figures.weighted_kappa(grade, 4 - grade, groups, classes=5)
    assert reversed_.value == pytest.approx(-1)
    assert math.isnan(figures.weighted_kappa(first * 0, first * 0, groups, classes=2).value)


def test_calibration_error_by_hand() -> None:
    probability = np.array([0.05, 0.05, 0.95, 0.95, 1.0])
    truth = np.array([0, 1, 1, 1, 0])
    bins = figures.calibration(probability, truth)
    assert [b.n for b in bins] == [2, 3]
    expected = 2 / 5 * abs(0.05 - 0.5) + 3 / 5 * abs((0.95 + 0.95 + 1) / 3 - 2 / 3)
    assert figures.calibration_error(bins).value == pytest.approx(expected)


def labels(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, "utf-8")
    return path


def test_labels_of_a_clinic_with_few_columns(tmp_path: Path) -> None:
    path = labels(
        tmp_path,
        "\ufeffpatient,file,dr_grade,glaucoma,note\np1,a.jpg,2,,\np1,sub/b.jpg,,yes,dme=2\n",
    )
    first, second = read_labels(path)
    assert (first.file, first.path) == ("a.jpg", tmp_path / "a.jpg")
    assert (first.dr_grade, first.glaucoma, first.is_fundus, first.group) == (2, None, None, "p1")
    assert (second.dr_grade, second.glaucoma, second.dme) == (None, True, True)
    assert second.path == tmp_path / "sub" / "b.jpg"
    assert {first.source, second.source} == {"own"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name\na.jpg\n", "no column `file`"),
        ("file,dr_grade\na.jpg,5\n", "line 2: dr_grade is '5'"),
        ("file,pm\na.jpg,1\nb.jpg,maybe\n", "line 3: pm is 'maybe'"),
        ("file\na.jpg\na.jpg\n", "there twice"),
        ("file\n", "no rows"),
        ("file,pm\n,1\n", "line 2: the column `file` is empty"),
        ("", "no column `file`"),
    ],
)
def test_labels_that_cannot_be_used_say_where(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_labels(labels(tmp_path, text))


def test_labels_of_one_split(tmp_path: Path) -> None:
    path = labels(tmp_path, "file,split\na.jpg,train\nb.jpg,test\n")
    assert [p.file for p in read_labels(path, split="test")] == ["b.jpg"]
    with pytest.raises(ConfigError, match="no rows with split 'val'"):
        read_labels(path, split="val")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labels(tmp_path / "nowhere.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labels(tmp_path / "binary.csv")


def test_predictions_have_the_promised_columns() -> None:
    out = io.StringIO()
    write_head(out)
    write_row(out, Prediction('odd, "name".jpg', a_reading(dr=0.75, grade=2)))
    write_row(out, Prediction("poor.jpg", a_reading("ungradable")))
    write_row(out, Prediction("cat.jpg", a_reading("not_fundus", fundus=0.01)))
    write_row(out, Prediction("gone.jpg", None, "FileNotFoundError"))
    good, poor, cat, gone = csv.DictReader(io.StringIO(out.getvalue()))
    assert ",".join(good) == (
        "file,is_fundus,gradable,dr_any,dr_referable,dr_severe,dr_grade,glaucoma,amd,pm,"
        "decision_dr,decision_glaucoma,decision_amd,decision_pm"
    )
    assert tuple(good) == COLUMNS
    assert good["file"] == 'odd, "name".jpg'
    scores = (good["dr_any"], good["dr_referable"], good["dr_severe"], good["dr_grade"])
    assert scores == ("0.900000", "0.750000", "0.250000", "2")
    assert (good["decision_dr"], good["decision_pm"], good["pm"]) == ("refer", "not_assessed", "")
    assert (poor["decision_dr"], poor["dr_referable"], poor["gradable"]) == (
        "ungradable", "", "0.900000",
    )  # fmt: skip
    assert (cat["decision_dr"], cat["is_fundus"]) == ("not_assessed", "0.010000")
    assert set(gone.values()) == {"gone.jpg", "", "not_assessed"}
    assert len(row(Prediction("x", None))) == len(COLUMNS)


def test_what_is_no_retina_or_was_not_assessed_is_in_no_sensitivity() -> None:
    manifest, _ = load(PACKAGED_WEIGHTS)
    photos = [
        a_photo("sick.jpg", is_fundus=True, dr_grade=3),
        a_photo("well.jpg", is_fundus=True, dr_grade=0, source="b"),
        a_photo("poor.jpg", is_fundus=True, dr_grade=4),
        a_photo("cat.jpg", is_fundus=False, dr_grade=4),
        a_photo("gone.jpg", is_fundus=True, dr_grade=4),
    ]
    said = [
        a_reading(dr=0.9, grade=2),
        a_reading(dr=0.2, grade=0, decision="negative"),
        a_reading("ungradable"),
        a_reading("not_fundus", fundus=0.01, dr=0.99),
        None,
    ]
    result = measure(
        photos, [Prediction(p.file, r) for p, r in zip(photos, said, strict=True)], manifest
    )

    def found(question: str, name: str, photos: str = EVERY) -> figures.Figure:
        (one,) = (
            m.figure
            for m in result.measures
            if (m.question, m.name, m.photos) == (question, name, photos)
        )
        return one

    assert found("dr_referable", "sensitivity at refer").n == 1
    assert found("dr_referable", "specificity at refer").value == 1
    assert found("dr_referable", "auc").value == 1
    assert found("dr_grade", "graded too low").value == 0.5
    assert found("is_fundus", "specificity at refer").value == 1
    assert found("outcome", "ungradable of retinas").value == 0.25
    assert found("outcome", "unreadable of retinas").value == 0.25
    assert found("outcome", "not_fundus of other pictures").value == 1
    assert found("dr_referable", "specificity at refer", "b").n == 1
    assert all(set(row) >= {"question", "value", "low", "high"} for row in to_json(result))
    assert "dr_referable" in page.text(result)


def test_the_page_escapes_what_a_file_name_brings() -> None:
    text = page.html(
        Result((), ()),
        labels="<script>alert(1)</script>.csv",
        model="m & n",
        provider="CPU",
        day="2026-01-02",
        unreadable=[("<img src=x onerror=1>.jpg", "fundus.damaged")],
        pictures={"ROC": b"png"},
    )
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert "m &amp; n" in text
    assert "http" not in text.replace("http-equiv", "")
