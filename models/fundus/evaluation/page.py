"""The figures as text for a terminal, and as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby

from models.fundus.evaluation.figures import Figure
from models.fundus.evaluation.questions import EVERY, Measure, Result

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c2024}
body{max-width:76rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.5rem 0 1.5rem;width:100%}
th,td{padding:.25rem .75rem .25rem 0;font-size:.875rem;text-align:left}
th,td{border-bottom:1px solid #d5d8da}
td{font-variant-numeric:tabular-nums;vertical-align:top}
img{max-width:100%;height:auto}
.note{color:#555}
"""
_NAMES = {
    "is_fundus": "Is it a retina photo? 是不是眼底照片",
    "gradable": "Good enough to assess? 能不能评估",
    "dr_any": "Any diabetic retinopathy (ICDR ≥ 1) 有无糖网",
    "dr_referable": "Referable diabetic retinopathy (ICDR ≥ 2) 需转诊糖网",
    "dr_severe": "Severe diabetic retinopathy (ICDR ≥ 3) 重度糖网",
    "dr_grade": "Grade of diabetic retinopathy 糖网分级",
    "dme": "Risk of macular oedema 黄斑水肿风险",
    "glaucoma": "Glaucoma 青光眼",
    "amd": "Macular degeneration 老年黄斑变性",
    "pm": "Pathological myopia 病理性近视",
    "outcome": "What became of the photos 照片的去向",
}
_METHOD = (
    "AUC and kappa: 95 % intervals from 1000 draws of whole patients (seeded). Shares: Wilson's"
    " 95 % interval. Sensitivity at refer counts “refer” alone as found; at rule-out it counts"
    " “borderline” too. Photos that were not assessed are in no AUC and no sensitivity: see what"
    " became of the photos. ECE: ten bins of equal width; resampling makes it larger by itself, so"
    " it has no interval. Figures hold for photos like these, from these cameras, for no other."
)


def text(result: Result) -> str:
    """Return the figures as lines."""
    lines: list[str] = []
    for question, measures in _by_question(result):
        lines.append(question)
        lines += [
            f"  {m.name:28} {span(m.figure):24} n={_counted(m):10} {m.photos}" for m in measures
        ]
    return "\n".join(lines)


def span(figure: Figure) -> str:
    """Return a figure with its interval, for people."""
    if math.isnan(figure.low):
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}-{figure.high:.3f}]"


def html(
    result: Result,
    *,
    labels: str,
    model: str,
    provider: str,
    day: str,
    unreadable: Sequence[tuple[str, str]],
    pictures: Mapping[str, bytes],
) -> str:
    """Return the report as one page.

    Args:
        result: the figures.
        labels: name of the file of labels.
        model: name and version of the weights.
        provider: what ran the network.
        day: of the run.
        unreadable: files that could not be read, and why.
        pictures: PNG files by their title.
    """
    facts = (
        ("Labels 标注", labels),
        ("Model 模型", model),
        ("Provider", provider),
        ("Date 日期", day),
    )
    parts = [
        "<h1>Evaluation of the fundus reader 眼底阅片评估</h1>",
        _table([(escape(k), escape(v)) for k, v in facts]),
        f'<p class="note">{escape(_METHOD)}</p>',
    ]
    for title, png in pictures.items():
        data = base64.b64encode(png).decode()
        name = escape(title)
        parts.append(f'<h2>{name}</h2><img alt="{name}" src="data:image/png;base64,{data}">')
    for question, measures in _by_question(result):
        parts.append(f"<h2>{escape(_NAMES.get(question, question))}</h2>")
        parts.append(_by_photos(measures))
    if unreadable:
        parts.append("<h2>Files that could not be read 打不开的文件</h2>")
        parts.append(_table([(escape(f), escape(w)) for f, w in unreadable]))
    parts.append("<p>AI reference, not a diagnosis. 仅供参考，不能替代医生诊断。</p>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Fundus evaluation</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _by_question(result: Result) -> list[tuple[str, list[Measure]]]:
    ordered = sorted(result.measures, key=lambda m: list(_NAMES).index(m.question))
    return [(q, list(ms)) for q, ms in groupby(ordered, key=lambda m: m.question)]


def _by_photos(measures: Sequence[Measure]) -> str:
    """Return one row per set of photos, one column per figure."""
    names = list(dict.fromkeys(m.name for m in measures))
    rows: dict[str, dict[str, Measure]] = {}
    for measure in measures:
        rows.setdefault(measure.photos, {})[measure.name] = measure
    body: list[tuple[str, ...]] = []
    for photos, found in rows.items():
        most = max(found.values(), key=lambda m: (m.figure.n, m.positives or 0))
        cells = (
            escape(span(found[n].figure)).replace(" [", "<br>[") if n in found else ""
            for n in names
        )
        body.append((escape(_photos(photos)), _counted(most), *cells))
    return _table(body, ("photos 照片", "n (yes)", *names))


def _photos(name: str) -> str:
    return "all 全部" if name == EVERY else name


def _counted(measure: Measure) -> str:
    n = str(measure.figure.n)
    return n if measure.positives is None else f"{n} ({measure.positives})"


def _table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...] = ()) -> str:
    top = "<tr>" + "".join(f"<th>{escape(h)}</th>" for h in head) + "</tr>" if head else ""
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table>{top}{body}</table>"
