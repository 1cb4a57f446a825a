"""Answers of each member to the patients it never learnt from, as they are and as other cameras.

Calibration and thresholds come from these alone. Every row of a left-out fold is looked at in
several views, because a threshold that only knows the training cameras moves on the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

CLEAN, CAMERA, SPOILED, SCREEN, PAIR, DRAWING = range(6)


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """One entry per view.

    Attributes:
        row: number of the row it shows, -1 for a drawn one.
        kind: which view, of the constants above.
        logits: (views, channels) of the member that left the patient out.
        target: what would have been right.
        weight: 0 where nothing is known.
    """

    row: np.ndarray
    kind: np.ndarray
    logits: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    def of(self, *kinds: int) -> OutOfFold:
        """Return only these views."""
        keep = np.isin(self.kind, kinds)
        return OutOfFold(
            self.row[keep], self.kind[keep], self.logits[keep], self.target[keep], self.weight[keep]
        )


def load(path: Path) -> OutOfFold:
    """Read what `save` wrote."""
    with np.load(path) as saved:
        return OutOfFold(**{name: saved[name] for name in saved.files})


def save(found: OutOfFold, path: Path) -> None:
    """Write all arrays, so that packaging again asks nobody."""
    names = ("row", "kind", "logits", "target", "weight")
    np.savez(path, **{name: getattr(found, name) for name in names})
