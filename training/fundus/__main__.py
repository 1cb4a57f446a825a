"""From a labelled folder to weights, manifest and model card, in one command.

python -m training.fundus --data ../shared/fundus
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from training.fundus import earlier, samples
from training.fundus.labels import (
    Row,
    conflicting,
    data_sha256,
    fingerprint,
    folds,
    load,
    training_rows,
)
from training.fundus.train import Plan, from_imagenet, train

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "models" / "fundus" / "weights"


def main() -> None:
    """Run the whole chain; an interrupted run goes on where it was."""
    parser = argparse.ArgumentParser(prog="python -m training.fundus", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv and img/")
    parser.add_argument(
        "--init", type=Path, help="ImageNet TFLite file; default <data>/init/*.tflite"
    )
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--run", type=Path, default=HERE / "runs")
    parser.add_argument(
        "--no-test",
        dest="test",
        action="store_false",
        help="leave the test rows alone: no figures on them, no model card",
    )
    parser.add_argument(
        "--stop-at", type=int, help="end the training at this step, for want of time"
    )
    parser.add_argument(
        "--go-on-from",
        type=Path,
        metavar="WEIGHTS",
        help="start from the members of these weights, not from ImageNet",
    )
    parser.add_argument("--seed", type=int, default=Plan().seed, help="of the samples")
    parser.add_argument("--rate", type=float, default=Plan().rate, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps-small", type=int, default=Plan().steps_small)
    parser.add_argument("--steps-large", type=int, default=Plan().steps_large)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    plan = Plan(
        seed=given.seed,
        steps_small=given.steps_small,
        steps_large=given.steps_large,
        rate=given.rate,
    )
    log = HERE / "log"
    log.mkdir(exist_ok=True)

    everything = load(given.data)
    rows = training_rows(everything, "train") + training_rows(everything, "val")
    drop = conflicting(rows, _prints(given.data, rows))
    rows = [r for r in rows if r.file not in drop]
    numbers = folds(rows)
    facts = {
        "plan": dataclasses.asdict(plan),
        "stopped_at": min(plan.steps, given.stop_at or plan.steps),
        "rows": len(rows),
        "rows_by_fold": np.bincount(numbers).tolist(),
        "dropped_conflicting": sorted(drop),
        "rows_sha256": data_sha256(given.data, rows),
    }
    if given.go_on_from:
        start, facts["went_on_from"] = earlier.start(
            given.go_on_from, rows_sha256=facts["rows_sha256"], folds=len(facts["rows_by_fold"])
        )
    else:
        init = given.init or next((given.data / "init").glob("*.tflite"))
        start = from_imagenet(plan, init)
    (log / "data.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1), flush=True)
    net = train(
        given.data,
        start,
        rows,
        numbers,
        plan,
        given.run,
        log / "train.jsonl",
        stop_at=given.stop_at,
    )
    from training.fundus.package import finish, package  # noqa: PLC0415  training needs none of it

    package(net, given.data, rows, numbers, plan, facts, given.weights, given.run)
    if given.test:
        finish(given.weights, given.data)


def _prints(folder: Path, rows: list[Row]) -> np.ndarray:
    return np.stack([fingerprint(samples.open_cropped(folder / r.file)) for r in rows])


if __name__ == "__main__":
    main()
