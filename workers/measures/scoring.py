"""Values of metrics on some rows, with intervals, and what one model is better by than another on the same rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainhouse_loader.terms import TaskType
from workers.measures.intervals import Confidence, arranged, gained, resampled
from workers.measures.metrics import METRICS, Undefined, lower_is_better
from workers.measures.samples import Floats, Rows, Sample

MOST_CLASSES = 50
Entry = dict[str, Any]
"""`{"value": v}`, with `low` and `high` where an interval was asked for; None with a `reason` for what has no value."""


def scores(
    task: TaskType,
    y: Floats,
    p: Floats,
    *,
    names: Sequence[str],
    quantile: float = 0.5,
    weights: Floats | None = None,
) -> dict[str, Entry]:
    """By name: `{"value": v}`; None, with a `reason`, where it cannot be computed. Nothing here is NaN or infinite.

    Args:
        y: (rows,) class index or number.
        p: (rows, classes) probabilities or (rows,) numbers.
        names: Metrics.
        quantile: What `p` is meant to be, for `mean_pinball_loss`.
        weights: (rows,) how much each row counts.
    """
    return values(Rows(task, y, p, quantile, weights), names)


def values(rows: Rows, names: Sequence[str]) -> dict[str, Entry]:
    """By name the metric's value; see `scores`."""
    sample = Sample.whole(rows)
    return {name: _value(sample, name) for name in names}


def measured(rows: Rows, names: Sequence[str], confidence: Confidence) -> dict[str, Entry]:
    """By name the metric's value with `low` and `high`; the same whatever the order of the rows."""
    (rows,) = arranged([rows])
    found = values(rows, names)
    reason = _no_interval(rows)
    drawn = {} if reason else resampled([rows], _with_value(found), confidence)[0]
    for name, entry in found.items():
        entry.update(_ends(entry["value"], drawn.get(name), confidence, reason))
    return found


def compared(one: Rows, other: Rows, names: Sequence[str], confidence: Confidence) -> dict[str, Entry]:
    """By metric, how much better the first model is than the second on the same rows, drawn alike for both.

    Above 0 is better, whatever the metric; `other` is the second model's value.
    """
    one, other = arranged([one, other])
    ours, theirs = values(one, names), values(other, names)
    both = [name for name in names if ours[name]["value"] is not None and theirs[name]["value"] is not None]
    reason = _no_interval(one)
    drawn = {} if reason else gained(both, resampled([one, other], both, confidence))
    found: dict[str, Entry] = {}
    for name in names:
        if name not in both:
            why = next(entry.get("reason") for entry in (ours[name], theirs[name]) if entry["value"] is None)
            found[name] = {"value": None, "reason": why, "low": None, "high": None, "other": theirs[name]["value"]}
            continue
        sign = -1.0 if lower_is_better(name) else 1.0
        gain = sign * (ours[name]["value"] - theirs[name]["value"])
        ends = _ends(gain, drawn.get(name), confidence, reason)
        found[name] = {"value": gain, **ends, "other": theirs[name]["value"]}
    return found


def gap(groups: Sequence[Rows], name: str, confidence: Confidence) -> Entry:
    """The distance between the largest and the smallest value of the metric over `groups` of rows, with its interval.

    Values drawn again lie further apart than those that they are drawn around, for their own noise is added: the lower
    end is mirrored at the value (the basic bootstrap of Davison and Hinkley, 1997, section 5.2), else equal groups would
    surely differ.
    """
    groups = [arranged([rows])[0] for rows in groups]
    found = [values(rows, [name])[name] for rows in groups]
    undefined = [entry for entry in found if entry["value"] is None]
    if undefined or len(groups) < 2:
        reason = undefined[0]["reason"] if undefined else "there is only one group"
        return {"value": None, "reason": reason, "low": None, "high": None}
    value = float(np.ptp([entry["value"] for entry in found]))
    if reason := next(filter(None, map(_no_interval, groups)), ""):
        return {"value": value, **_ends(value, None, confidence, reason)}
    # Groups share no row, so they are drawn apart: with other seeds, for equal ones would move equal groups alike.
    drawn = [
        resampled([rows], [name], Confidence(confidence.level, confidence.resamples, confidence.seed + place))[0][name]
        for place, rows in enumerate(groups)
    ]
    fewest = min(len(each) for each in drawn)
    ends = _ends(value, np.ptp([each[:fewest] for each in drawn], axis=0), confidence, "")
    if ends["high"] is not None:
        ends["low"] = max(0.0, 2.0 * value - ends["high"])
    return {"value": value, **ends}


def _with_value(found: dict[str, Entry]) -> list[str]:
    return [name for name, entry in found.items() if entry["value"] is not None]


def _no_interval(rows: Rows) -> str:
    """Why there are no intervals for `rows`; empty where there are."""
    many = rows.p.ndim == 2 and rows.p.shape[1] > MOST_CLASSES
    return f"no interval with more than {MOST_CLASSES} classes" if many else ""


def _value(sample: Sample, name: str) -> Entry:
    rows = sample.rows
    if len(rows) == 0:
        return {"value": None, "reason": "there are no rows"}
    if not np.isfinite(rows.p).all():
        return {"value": None, "reason": "a prediction is not a finite number"}
    if not sample.total[0] > 0:
        return {"value": None, "reason": "the rows have no weight"}
    try:
        with np.errstate(all="ignore"):
            value = float(METRICS[name](sample)[0])
    except Undefined as reason:
        return {"value": None, "reason": str(reason)}
    return {"value": value} if np.isfinite(value) else {"value": None, "reason": "the value is not finite"}


def _ends(value: float | None, drawn: Floats | None, confidence: Confidence, reason: str) -> Entry:
    if value is None:
        return {"low": None, "high": None}
    ends = None if drawn is None else confidence.ends(drawn)
    if ends is None:
        return {"low": None, "high": None, "reason": reason or "too few rows for an interval"}
    return {"low": min(ends[0], value), "high": max(ends[1], value)}
