"""What is said of the systems that were compared: differences, intervals, ranks, and the lines they are kept in."""

import os
import subprocess
import sys
from argparse import Namespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.peers import results
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


def test_the_newest_line_counts_and_one_that_was_cut_short_is_passed_over(tmp_path):
    file, line = tmp_path / "results.jsonl", {"table": "t", "system": "s", "seed": 0, "seconds": 60, "value": 1}
    results.append(line, file)
    results.append(line | {"value": 2}, file)
    with file.open("a") as out:
        out.write('{"table": "t", "sys')
    results.append(line | {"seed": 1}, file)
    assert results.kept(file) == {("t", "s", 0, 60): line | {"value": 2}, ("t", "s", 1, 60): line | {"seed": 1}}


def test_only_seeds_without_a_line_run_and_those_of_other_commits_where_that_is_asked_for():
    known = {("adult", "flaml", 0, 60): {"commit": commit()}, ("adult", "flaml", 1, 60): {"commit": "another"}}
    asked = Namespace(seeds=3, seconds=60, anew=[])
    assert missing(known, asked, "adult", "flaml") == [2]
    assert missing(known, asked, "adult", "h2o") == [0, 1, 2]
    asked.anew = ["flaml"]
    assert missing(known, asked, "adult", "flaml") == [1, 2]
    asked.seconds = 300
    assert missing(known, asked, "adult", "flaml") == [0, 1, 2]


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
