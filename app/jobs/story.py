"""A job's story as a page: the same facts as the JSON report, with charts and a table beside each."""

from collections.abc import Mapping
from typing import Any

from app import verdicts
from app.jobs.charts import bar_chart, line_chart, said, steps
from app.jobs.schemas import ReportOut, TrialOut
from app.pages import Page

CURVES = 10
STEEP_SHARE = 0.05
PAGE = Page("app.jobs", "report")


def page(report: ReportOut) -> str:
    """The report as HTML."""
    job, search = report.job, report.job.search
    best = sorted((trial for trial in report.trials if trial.status == "complete" and trial.value is not None),
                  key=lambda trial: trial.value or 0.0, reverse=not (search and search.minimize))[:CURVES]  # fmt: skip
    curves = {f"trial {trial.number}": _settled(_pairs(trial)) for trial in best}
    shares = search.importances if search else {}
    return PAGE.rendered(
        minute="%Y-%m-%d %H:%M:%S UTC", job=job, search=search, stages=_stages(report), facts=_facts(report),
        best_chart=_best_chart(report), curves_chart=line_chart(curves, x_name="iterations", y_name="validation value"),
        curve_rows=[_curve_row(trial) for trial in best if trial.curve], importances_chart=bar_chart(shares),
        importance_rows=[(name, f"{share:.3f}") for name, share in shares.items()],
        trials=[_trial_row(trial) for trial in report.trials], metrics=_metrics(report),
        gate_rules=[_gate_row(rule) for rule in (job.gate or {}).get("rules", [])],
    )  # fmt: skip


def _gate_row(rule: Mapping[str, Any]) -> list[str]:
    numbers = ["" if (value := rule.get(name)) is None else f"{value:.6g}" for name in ("value", "low", "high")]
    needed = f" (about {rule['rows_needed']:,} test rows would decide)" if rule.get("rows_needed") else ""
    return [verdicts.subject(rule), verdicts.wanted(rule), *numbers, rule["verdict"], rule.get("reason", "") + needed]


def _pairs(trial: TrialOut) -> list[tuple[float, float]]:
    return [(float(step), float(value)) for step, value in trial.curve or []]


def _settled(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A curve without its first steep part, beside which all that follows would look flat."""
    return [pair for pair in pairs if pair[0] >= STEEP_SHARE * pairs[-1][0]]


def _best_chart(report: ReportOut) -> Any:
    search = report.job.search
    if search is None:
        return None
    until = max((point[0] for point in search.best_so_far), default=0.0)
    stair = steps(search.best_so_far, until=max(until, float(search.max_seconds or 0.0)))
    return line_chart({f"best {search.metric}": stair}, x_name="seconds", y_name=f"best {search.metric}")


def _stages(report: ReportOut) -> list[list[Any]]:
    return [
        [stage.name, f"{stage.status}{' (taken over)' if stage.cached else ''}", _seconds(stage.duration_seconds),
         "; ".join(str(warned.get("message", "")) for warned in stage.warnings)]
        for stage in report.job.stages
    ]  # fmt: skip


def _facts(report: ReportOut) -> list[tuple[str, Any]]:
    search = report.job.search
    if search is None:
        return []
    counts = ", ".join(f"{count} {status}" for status, count in sorted(search.trials.items())) or "none yet"
    best = f"trial {search.best.number}: {_short(search.best.value)}" if search.best else "none yet"
    return [
        ("strategy", search.strategy), ("trials", f"{counts}; at the most {search.wanted}, {search.parallel} at a time"),
        ("best", best), ("ended by", search.ended_by or "not ended"),
        ("budget", f"{search.max_seconds} s" if search.max_seconds else "in trials"),
        ("folds", search.folds), ("models at the most", search.ensemble), ("fitted again", "yes" if search.refit else "no"),
        ("repeats exactly", f"{'yes' if search.reproducible else 'no'}: {search.reproducible_why}"),
        ("warm start", search.warm_start.get("why", "none")),
    ]  # fmt: skip


def _curve_row(trial: TrialOut) -> list[Any]:
    values = [value for _, value in _pairs(trial)]
    return [trial.number, _short(values[0]), _short(trial.value), _short(values[-1]), trial.iterations]


def _trial_row(trial: TrialOut) -> list[Any]:
    params = ", ".join(f"{name} {_short(value)}" for name, value in sorted(trial.params.items()))
    says = trial.reason or ("ended by its time limit" if trial.facts.get("timed_out") else "")
    attempts = f" (attempt {trial.attempt})" if trial.attempt > 1 else ""
    return [trial.number, trial.status + attempts, _short(trial.value), trial.iterations, _seconds(trial.duration_seconds),
            trial.worker, params, says]  # fmt: skip


def _metrics(report: ReportOut) -> list[list[Any]]:
    test, validation = report.job.metrics.get("test", {}), report.job.metrics.get("validation", {})
    return [
        [name, _short(_part(validation, name).get("value")),
         *(_short(_part(test, name).get(part)) for part in ("value", "low", "high"))]
        for name in sorted({*test, *validation})
    ]  # fmt: skip


def _part(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    entry = metrics.get(name)
    return entry if isinstance(entry, Mapping) else {"value": entry}


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _short(value: Any) -> str:
    if value is None:
        return "–"
    return said(value) if isinstance(value, float) else str(value)
