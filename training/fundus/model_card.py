"""The model card, written from the manifest so that the two cannot disagree."""

from __future__ import annotations

from models.fundus.manifest import Manifest

_INTRO = """\
# {label}

Reads a colour photo of the retina: is it one, is it good enough, and are there signs for which an
eye doctor should look soon. **AI reference, not a diagnosis; not a medical device.**

- Network: MobileNetV2 1.0 without batch norm, {size} px square, one linear layer on the mean of the
  last map, so the class-activation map is exact. It marks areas that influenced the score, not
  lesions.
- Start: ImageNet weights of google-coral/test_data (Apache-2.0).
- Licence of the weights: Apache-2.0 with the attributions below.
- Made by `make train` from seed {seed}, {steps} steps of {batch}; hash of the training rows {data}.

## What it does not do

- **Glaucoma and AMD: not assessed.** Trained on the only glaucoma source with a clear licence (one
  camera), a glaucoma head reached AUC 0.68 on other cameras; there are no licence-clear AMD
  pictures.
- It was never tested on patients of this service, on children, or prospectively.
- A photo cannot rule out any disease: a "low" result never means that a check-up is not needed.

## How the answers are made

- Validation rows (split `val`), each in four views (as it is and with simulated cameras), gave the
  calibration (Platt scaling, equal weight for yes and no in the disease heads: the probability is
  the one at a prevalence of one half) and the two thresholds (95 % of yes above "rule out", 95 % of
  no below "refer", both kept within a range). Validation is small: thresholds carry its chance.
- Between the thresholds the answer is "borderline". Calibration does not carry over to an unseen
  camera (see `ece`), so people see bands, never percentages.
- Test rows were used for the figures below only.
"""

_LIMITS = """\
## Known weaknesses

- The shipped run was stopped early, before its learning rate had run down (`training/fundus/log`):
  repeating the command gives a somewhat different network.
- Mild retinopathy: fifteen training pictures. Grades are coarse; use the referable answer.
- PM: positives and negatives of PALM differ in camera and framing, so its AUC is optimistic; the
  flag rate on other sources is the honest figure. PALM's licence is *claimed* CC BY 4.0 and not
  verified: confirm it at the deposit, or turn the head off in `manifest.json` (`"status": "off"`).
- Photos of a screen cost much of the accuracy; the reader says so and asks for the original file.
- Quality was learnt mostly from simulated faults.
- Training patients come from few hospitals in India, Israel and China.
"""


def model_card(manifest: Manifest) -> str:
    """Return the card as Markdown."""
    parts = [
        _INTRO.format(
            label=manifest.label,
            size=manifest.size_px,
            seed=manifest.training["seed"],
            steps=manifest.training["steps"],
            batch=manifest.training["batch"],
            data=str(manifest.training["train_sha256"])[:16],
        ),
        "## Heads and figures\n\n95 % intervals; AUC by resampling patients, rates by Wilson.\n",
    ]
    for head in manifest.heads:
        parts.append(
            f"### {head.name}\n\n{head.meaning}. Rule out < {head.rule_out}, refer ≥ {head.refer}."
            f" Trained on: {', '.join(head.trained_on)}.\n"
        )
        parts.append("| figure | pictures | n | value | 95 % |\n|---|---|---|---|---|")
        for m in head.metrics:
            span = f"{m.low:.3f}-{m.high:.3f}" if m.low is not None and m.high is not None else ""
            parts.append(f"| {m.name} | {m.pictures} | {m.n} | {m.value:.3f} | {span} |")
        parts.append("")
    parts.append(_LIMITS)
    parts.append(
        "## Pictures\n\n| source | use | n | licence | attribution |\n|---|---|---|---|---|"
    )
    parts += [
        f"| {s.name} | {s.use} | {s.n} | {s.licence} | {s.attribution} |" for s in manifest.sources
    ]
    return "\n".join(parts) + "\n"
