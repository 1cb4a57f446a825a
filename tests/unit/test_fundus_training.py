"""The training code's rules and arithmetic; the network needs torch and is not tried here."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.fundus import manifest
from models.fundus.evaluation import figures as measured
from models.fundus.settings import PACKAGED_WEIGHTS
from training.fundus import augment, calibration, figures, negatives
from training.fundus.labels import FOLDS, INDEX, conflicting, folds, load, may_go_on, training_rows

HEADER = (
    "file,source,licence,split,is_fundus,quality,glaucoma,dr_grade,amd,pm,cataract,normal,other,"
    "group,note\n"
)


def rows_of(folder: Path, *lines: str) -> list:
    (folder / "labels.csv").write_text(HEADER + "\n".join(lines) + "\n")
    return load(folder)


def test_evaluation_only_rows_never_train(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path,
        "a.jpg,idrid,CC-BY-4.0,train,1,1,,3,,,,,,g1,dme=2",
        "b.jpg,srahim,research-only (evaluation only),test,1,1,,0,,,,,,g2,",
    )
    assert [r.file for r in training_rows(rows, "train")] == ["a.jpg"]
    rows = rows_of(tmp_path, "b.jpg,x,no licence stated (evaluation only),train,1,1,,0,,,,,,g2,")
    with pytest.raises(ValueError, match="evaluation-only"):
        training_rows(rows, "train")


def test_a_row_teaches_only_what_it_knows(tmp_path: Path) -> None:
    idrid, palm, hygd, negative = rows_of(
        tmp_path,
        "a.jpg,idrid,CC,train,1,1,,3,,,,,,g1,dme=2",
        "b.jpg,palm,CC,train,1,,,,,1,,0,,g2,",
        "c.jpg,hygd,CC,train,1,0,1,,,,,,,g3,quality_score=3.1",
        "d.jpg,neg,CC,train,0,,,,,,,,,g4,",
    )
    dr = [INDEX[f"dr{n}"] for n in range(1, 5)]
    assert list(idrid.target[dr]) == [1, 1, 1, 0]
    assert idrid.target[INDEX["dme"]] == 1
    assert idrid.weight[INDEX["pm"]] == pytest.approx(0.25)
    assert palm.weight[dr].max() == 0  # a diseased eye is no weak negative
    assert palm.target[INDEX["pm"]] == 1
    assert hygd.weight[dr].max() == 0
    assert hygd.weight[INDEX["quality"]] == pytest.approx(0.5)
    assert hygd.target[INDEX["glaucoma"]] == 1
    assert idrid.weight[INDEX["glaucoma"]] == 0  # a negative of another camera teaches the camera
    assert palm.weight[INDEX["glaucoma"]] == 0
    assert np.flatnonzero(negative.weight).tolist() == [INDEX["gate"]]
    assert negative.target[INDEX["gate"]] == 0


def test_a_disputed_picture_is_dropped_though_its_twin_is_gone(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path,
        "a.jpg,idrid,CC,train,1,1,,2,,,,,,idrid_tr_IDRiD_391,dme=1",
        "b.jpg,idrid,CC,train,1,1,,2,,,,,,idrid_tr_IDRiD_392,dme=1",
        "c.jpg,idrid,CC,train,1,1,,3,,,,,,idrid_tr_IDRiD_393,dme=1",
    )
    apart = np.eye(3, 576, dtype=np.float32)
    assert conflicting(rows, apart) == {"a.jpg"}
    apart[2] = apart[1]  # the same picture with two grades
    assert conflicting(rows, apart) == {"a.jpg", "b.jpg", "c.jpg"}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=120), st.randoms())
def test_folds_keep_patients_together_and_ignore_the_order(
    patients: list[int], order: object
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            f"{n}.jpg,idrid,CC,train,1,1,,{patient % 5},,,,,,p{patient},"
            for n, patient in enumerate(patients)
        ]
        rows = rows_of(Path(folder), *lines)
    found = folds(rows)
    of = {r.group: f for r, f in zip(rows, found, strict=True)}
    assert all(of[r.group] == f for r, f in zip(rows, found, strict=True))
    counts = np.bincount(list(of.values()), minlength=FOLDS)
    assert counts.max() - counts.min() <= 1
    shuffled = list(rows)
    order.shuffle(shuffled)
    assert [of[r.group] for r in shuffled] == folds(shuffled).tolist()


def test_thresholds_come_from_answers_out_of_fold() -> None:
    rng = np.random.default_rng(5)
    y = (rng.random(3000) < 0.4).astype(int)
    p = 1 / (1 + np.exp(-(rng.normal(0, 1, 3000) + 3 * y - 1.5)))
    threshold = calibration.widest_margin(p, y)
    sensitivity, specificity = (p[y == 1] >= threshold).mean(), (p[y == 0] < threshold).mean()
    # 0.05 more is asked of sensitivity, so that much more is what it gets.
    assert sensitivity - specificity == pytest.approx(0.05, abs=0.01)
    assert specificity > 0.85


def test_shipped_weights_were_trained_on_allowed_pictures_only() -> None:
    loaded, _ = manifest.load(PACKAGED_WEIGHTS)
    training = {s.name: s.licence for s in loaded.sources if s.use == "training"}
    assert training
    assert not [n for n, licence in training.items() if "evaluation only" in licence]
    assert "unverified" in training["palm"]
    for head in loaded.heads:
        assert set(head.trained_on) <= set(training)
        assert head.metrics
    assert not loaded.assesses("glaucoma")  # it does not carry over to other cameras
    assert loaded.named("glaucoma").status == "experimental"
    assert not loaded.assesses("amd")


def figure(head: str, name: str, pictures: str) -> float:
    loaded, _ = manifest.load(PACKAGED_WEIGHTS)
    metrics = next(h for h in loaded.heads if h.name == head).metrics
    return next(m.value for m in metrics if m.name == name and m.pictures == pictures)


def test_shipped_figures_hold_their_bars() -> None:
    """Weights that are worse than the first ones shipped do not pass unnoticed."""
    assert figure("dr", "auc", "idrid test") >= 0.92
    assert figure("dr", "auc", "srahim (unseen source)") >= 0.92
    assert figure("dr", "grade weighted kappa", "srahim (unseen source)") >= 0.64
    assert figure("dr", "sensitivity at refer", "srahim (unseen source)") >= 0.85
    assert figure("pm", "auc", "palm test (same source)") >= 0.98
    assert figure("pm", "flag rate", "4class-odir") <= 0.03
    for negative in ("neg-imagenet-sample", "neg-imagenet-sample-disc", "neg-tvh-oct"):
        assert figure("gate", "false positive rate", negative) <= 0.02
    for fundus in ("idrid", "srahim", "palm", "hygd", "tvh-mx"):
        assert figure("gate", "true positive rate", fundus) >= 0.97


def test_platt_repairs_a_shifted_scale() -> None:
    rng = np.random.default_rng(2)
    true_logit = rng.normal(0, 2, 4000)
    truth = (rng.random(4000) < 1 / (1 + np.exp(-true_logit))).astype(float)
    scale, bias = figures.platt(true_logit * 2 + 3, truth, balanced=False)
    repaired = 1 / (1 + np.exp(-(scale * (true_logit * 2 + 3) + bias)))
    assert (
        figures.ece(repaired, truth)
        < 0.05
        < figures.ece(1 / (1 + np.exp(-(true_logit * 2 + 3))), truth)
    )


def test_training_measures_with_the_figures_of_the_product() -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, 90)
    score = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    groups = [str(n // 2) for n in range(90)]
    assert figures.auc_figure(score, truth, groups) == measured.auc(score, truth, groups)
    assert figures.auc(score, truth) == measured.auc(score, truth, groups).value
    assert math.isnan(figures.auc(score, truth * 0))
    assert figures.rate(score > 0.5) == measured.rate(int((score > 0.5).sum()), 90)
    assert figures.ece(np.array([0.1, 0.1, 0.9]), np.array([0, 1, 1])) == pytest.approx(0.9 / 3)
    grades = np.array([0, 1, 2, 3, 4, 4])
    assert figures.quadratic_kappa(grades, grades) == pytest.approx(1)
    assert figures.quadratic_kappa(grades, grades[::-1]) < 0


@given(st.integers(0, 2**31))
def test_a_sample_depends_on_its_number_alone(seed: int) -> None:
    def made() -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        drawn = negatives.draw(rng, 64)
        placed = augment.place(rng, drawn, 64)
        changes = (augment.vary, augment.screen, augment.spoil, augment.vary_negative)
        wanted = augment.style(negatives.draw(rng, 64))
        return [
            drawn,
            placed,
            *(change(rng, placed) for change in changes),
            augment.vary(rng, placed, wanted),
            augment.pair(placed, drawn.astype(np.float32), rng),
        ]

    first, second = made(), made()
    for a, b in zip(first, second, strict=True):
        assert a.shape == (64, 64, 3)
        assert np.isfinite(a.astype(float)).all()
        assert np.array_equal(a, b)


def test_only_members_of_the_same_folds_go_on() -> None:
    shipped, _ = manifest.load(PACKAGED_WEIGHTS)
    rows = str(shipped.training["rows_sha256"])
    may_go_on(shipped, rows_sha256=rows, folds=FOLDS)
    with pytest.raises(ValueError, match="would leak"):
        may_go_on(shipped, rows_sha256=rows, folds=FOLDS - 1)
    with pytest.raises(ValueError, match="would leak"):
        may_go_on(shipped, rows_sha256=rows[::-1], folds=FOLDS)
    fewer = shipped.model_copy(update={"channels": shipped.channels[:-1]})
    with pytest.raises(ValueError, match="other channels"):
        may_go_on(fewer, rows_sha256=rows, folds=FOLDS)
