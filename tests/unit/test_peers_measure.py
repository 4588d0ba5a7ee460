"""What is said of the systems that were compared: differences, intervals, ranks, and the lines they are kept in."""

import os
import subprocess
import sys
from argparse import Namespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.peers import report, results, run
from benchmarks.peers.house import commit
from benchmarks.peers.measure import Measured, mean_of, mean_ranks, measured, paired, ranks, resampled, value_of
from benchmarks.peers.memory import Peak
from benchmarks.peers.report import Bout, placed, quality
from benchmarks.peers.run import SYSTEMS, missing
from workers.measures.samples import Rows


def numbers(seed, *, noise, rows=2_000):
    """Rows of a regression whose predictions are off by `noise`."""
    random = np.random.default_rng(seed)
    y = random.normal(size=rows)
    return Rows("regression", y, y + noise * np.random.default_rng(seed + 100).normal(size=rows))


def compared(ours, theirs, *, same_rows=False):
    """The paired difference of RMSE between two systems, each by seed."""
    return paired("rmse", *(over_seeds(side, same_rows=same_rows) for side in (ours, theirs)))


def over_seeds(runs, *, same_rows):
    """A system's RMSE over its runs by seed."""
    return mean_of([measured("rmse", rows, seed=seed, same_rows=same_rows) for seed, rows in runs.items()])


def test_the_value_is_that_of_scikit_learn():
    random = np.random.default_rng(1)
    y, p = random.integers(0, 2, 400), random.random(400).round(2)
    assert value_of("roc_auc", "binary", y.astype(float), np.stack([1 - p, p], axis=1)) == pytest.approx(
        roc_auc_score(y, p)
    )


def test_less_error_counts_as_better_and_the_interval_holds_the_difference():
    ours = {seed: numbers(seed, noise=0.9) for seed in range(3)}
    theirs = {seed: numbers(seed, noise=1.0) for seed in range(3)}
    found = compared(ours, theirs)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(0.1, abs=0.01)
    assert found.verdict == 1
    assert compared(theirs, ours).verdict == -1


def test_equal_predictions_differ_by_nothing():
    rows = {0: numbers(0, noise=1.0)}
    found = compared(rows, rows)
    assert (found.value, found.low, found.high, found.verdict) == (0.0, 0.0, 0.0, 0)


def test_what_packing_rounds_off_is_no_difference():
    kept = Measured.unpacked(0.5, Measured(0.5, np.random.default_rng(0).normal(0.5, 0.01, 1_000)).packed())
    assert 0 < kept.rounding < 1e-4
    closer, farther = (Measured(0.5, kept.drawn + many * kept.rounding, kept.rounding) for many in (1.9, 2.1))
    assert paired("roc_auc", closer, kept).low > 0
    assert [paired("roc_auc", each, kept).verdict for each in (closer, farther)] == [0, 1]
    assert paired("roc_auc", kept, farther).verdict == -1


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    covered = 0
    for draw in range(60):
        random = np.random.default_rng(draw)
        y = random.normal(size=300)
        a, b = (Rows("regression", y, y + random.normal(size=300)) for _side in range(2))
        found = compared({0: a}, {0: b})
        covered += found.low <= 0.0 <= found.high
    assert 52 <= covered <= 60


def test_seeds_with_the_same_test_rows_do_not_make_the_interval_narrower():
    one = {0: numbers(0, noise=0.9)}, {0: numbers(0, noise=1.0)}
    thrice = tuple(dict.fromkeys(range(3), side[0]) for side in one)
    alone, together = (compared(*sides, same_rows=True) for sides in (one, thrice))
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    apart = compared(*thrice)
    assert apart.high - apart.low < 0.8 * (alone.high - alone.low)


def test_both_sides_of_a_pair_are_measured_on_the_same_drawn_rows():
    rows = numbers(0, noise=1.0)
    assert (resampled("rmse", rows, seed=4) == resampled("rmse", rows, seed=4)).all()


def test_what_was_drawn_survives_as_text():
    found = measured("rmse", numbers(0, noise=1.0), seed=0, same_rows=False)
    read = Measured.unpacked(found.value, found.packed())
    assert read.value == found.value
    assert np.abs(read.drawn - found.drawn).max() < 0.003 * found.drawn.std()
    alone = Measured(0.5, np.array([0.5, np.nan]))
    assert np.array_equal(Measured.unpacked(0.5, alone.packed()).drawn, alone.drawn, equal_nan=True)


def test_ranks_go_by_the_metric_share_ties_and_put_failures_last():
    assert ranks({"a": 0.9, "b": 0.8, "c": None}, "roc_auc") == {"a": 1, "b": 2, "c": 3}
    assert ranks({"a": 0.9, "b": 0.8, "c": 0.8, "d": None}, "rmse") == {"a": 3, "b": 1.5, "c": 1.5, "d": 4}
    assert mean_ranks([{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1, "b": 2}]) == pytest.approx({"a": 4 / 3, "b": 5 / 3})


def line_of(system="flaml", *, machine=None, at=1, **others):
    """A line of a run on `adult`, on this machine where none is named."""
    known = {"table": "adult", "system": system, "seed": 0, "seconds": 60, "machine": machine or run.machine()}
    return (
        known | {"at": f"2026-01-01T00:00:{at:02}+00:00", "commit": commit(), "status": "ok", "metric": "rmse"} | others
    )


def known_of(*lines):
    """The lines by their keys."""
    return {results.key_of(line): line for line in lines}


def test_the_newest_line_counts_and_one_that_was_cut_short_is_passed_over(tmp_path):
    file, line = tmp_path / "results.jsonl", line_of(value=1)
    results.append(line, file)
    results.append(line | {"value": 2}, file)
    with file.open("a") as out:
        out.write('{"table": "t", "sys')
    results.append(line | {"seed": 1}, file)
    assert results.kept(file) == known_of(line | {"value": 2}, line | {"seed": 1})


def asked_for(*systems, anew=(), seconds=60):
    """What a command asks for."""
    return Namespace(systems=list(systems), seconds=seconds, anew=list(anew))


def test_only_what_has_no_line_runs_and_that_of_other_commits_where_it_is_asked_for():
    known = known_of(line_of("flaml"), line_of("optuna", commit="another"))
    both = ("flaml", "optuna")
    assert missing(known, asked_for(*both), "adult", 0) == []
    assert missing(known, asked_for(*both, "h2o"), "adult", 0) == ["h2o"]
    assert missing(known, asked_for(*both, anew=both), "adult", 0) == ["optuna"]
    assert missing(known, asked_for(*both), "adult", 1) == list(both)
    assert missing(known, asked_for(*both, seconds=300), "adult", 0) == list(both)


def test_a_contest_is_held_on_one_machine():
    apart = known_of(line_of("flaml", machine="old"), line_of("h2o"))
    assert results.contest(apart, "adult", 0, 60, ["flaml", "h2o"]) == {}
    assert missing(apart, asked_for("flaml", "h2o"), "adult", 0) == ["flaml"]
    old = known_of(*(line_of(name, machine="old", commit="another", at=1) for name in ("flaml", "h2o")))
    assert missing(old, asked_for("flaml", "h2o"), "adult", 0) == []
    assert missing(old, asked_for("flaml", "h2o", anew=["h2o"]), "adult", 0) == ["flaml", "h2o"]
    new = known_of(*(line_of(name, at=2) for name in ("flaml", "h2o")))
    held = results.contest(new | old, "adult", 0, 60, ["flaml", "h2o"])
    assert {line["machine"] for line in held.values()} == {run.machine()}


def test_the_report_takes_the_seeds_with_which_all_ran_on_one_machine(monkeypatch):
    whole = [line_of(name, value=1.0, seed=seed) for name in SYSTEMS for seed in (0, 1)]
    torn = [line_of(name, value=1.0, seed=2, machine=name) for name in SYSTEMS]
    monkeypatch.setattr(results, "kept", lambda: known_of(*whole, *torn))
    (bout,) = report.bouts("given", seconds=60)
    assert {name: list(lines) for name, lines in bout.lines.items()} == {name: [0, 1] for name in SYSTEMS}
    assert "; 2 seeds; on " in report.provenance([bout])


def test_who_fails_on_one_seed_is_last_on_the_table_and_said_to_have_failed():
    lines = {
        name: {seed: {"status": "ok", "value": 1.0 + place} for seed in (0, 1)} for place, name in enumerate(SYSTEMS)
    }
    lines["flaml"][1] = {"status": "overran"}
    bout = Bout("adult", "rmse", lines)
    assert bout.ranks == {"trainhouse": 1, "flaml": 5, "h2o": 2, "autogluon": 3, "optuna": 4}
    assert bout.best_peer == "h2o"
    assert "| adult, rmse ↓ | 1.0000 | failed | 3.0000 | 4.0000 | 5.0000 |" in quality([bout])


def test_the_report_replaces_what_stands_between_its_markers_and_nothing_else():
    page = placed("# Figures\n\nOther words.\n", "first", seconds=60)
    page = placed(page, "of 300", seconds=300)
    page = placed(page, "second", seconds=60)
    assert "first" not in page
    assert page.index("Other words.") < page.index("second") < page.index("of 300")
    assert placed(page, "second", seconds=60) == page


def test_the_memory_of_a_child_and_of_its_child_is_seen():
    inner = "import sys; kept = bytearray(80_000_000); print(flush=True); sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], stdin=sys.stdin)"
    words = [sys.executable, "-c", outer]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        with Peak(os.getpid()) as peak:  # looks a last time as it ends
            child.stdout.readline()
        child.stdin.close()
    assert peak.bytes > 80_000_000
    assert child.pid in peak.pids
    assert len(peak.pids) >= 2
