"""Features that give the target away are named with their evidence; honest ones are left in peace."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn import datasets

from app.spec.data import Leakage
from app.spec.job import JobSpec
from tests.learning import DATASET_ID, parsed
from workers.quality import giveaways, suspicion
from workers.quality.leakage import Leak
from workers.table import columns, targets
from workers.table.canonical import canonical

ROWS = 3_000


def noise(seed: int = 0, rows: int = ROWS, names: str = "abcd") -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(rows, len(names))), columns=list(names))


def spec_of(**task: object) -> JobSpec:
    sources = {"main": {"kind": "dataset", "dataset_id": DATASET_ID}}
    return parsed({"model": "test-model", "task": {"target": "y", **task}, "data": {"sources": sources}})


def leaks(frame: pd.DataFrame, **task: object) -> list[Leak]:
    table = canonical(pa.Table.from_pandas(frame, preserve_index=False))
    spec = spec_of(**task)
    target = targets.resolve(table.column("y"), spec.task)
    sample = giveaways.sample_of(table, columns.decide(table, spec), "y", target, seed=42)
    return giveaways.evidence(sample, Leakage(), threads=1)[1]


def kinds(found: list[Leak]) -> set[tuple[str, tuple[str, ...], bool]]:
    return {(leak.kind, leak.columns, leak.certain) for leak in found}


@pytest.mark.parametrize(("name", "copy"), [
    ("scaled", lambda y: y * 2.54 - 3), ("rounded", lambda y: np.round(y, 1)), ("same", lambda y: y + 0.0),
])  # fmt: skip
def test_a_copy_of_a_measured_target_is_certain(name: str, copy: object):
    frame = noise()
    frame["y"] = frame["a"] + np.random.default_rng(1).normal(size=ROWS)
    found = leaks(frame.assign(**{name: copy(frame["y"])}))  # type: ignore[operator]
    assert ("copy", (name,), True) in kinds(found)


def test_a_relabelled_class_is_certain():
    frame = noise()
    frame["y"] = np.random.default_rng(2).choice(["low", "middle", "high"], ROWS, p=[0.97, 0.02, 0.01])
    assert kinds(leaks(frame.assign(code=frame["y"].map({"low": 7, "middle": 2, "high": 5})))) == {
        ("copy", ("code",), True)
    }


@pytest.mark.parametrize(("words", "target"), [
    ("the sum of 'a' and 'b'", lambda f: f["a"] + f["b"]),
    ("'a' less 'b'", lambda f: f["a"] - f["b"]),
    ("a weighted sum, 3 x 'a' + -2 x 'b' + 1 x 'c' and a constant,", lambda f: 3 * f["a"] - 2 * f["b"] + f["c"] + 7),
    ("the product of 'a' and 'b'", lambda f: f["a"] * f["b"]),
    ("'a' divided by 'b'", lambda f: f["a"] / f["b"]),
])  # fmt: skip
def test_features_that_make_up_the_target_are_named_with_the_formula(words: str, target: object):
    frame = np.exp(noise() * 0.3)
    frame["a"] *= 1.5
    frame["y"] = target(frame)  # type: ignore[operator]
    relation = next(leak for leak in leaks(frame) if leak.kind == "relation")
    assert relation.certain
    assert words in relation.message or words.replace("'a' and 'b'", "'b' and 'a'") in relation.message


def test_sums_of_whole_numbers_among_other_columns_are_found():
    rng = np.random.default_rng(3)
    frame = noise().assign(
        casual=rng.poisson(30, ROWS), registered=rng.poisson(150, ROWS), hour=rng.integers(0, 24, ROWS)
    )
    found = leaks(frame.assign(y=frame["casual"] + frame["registered"]))
    assert kinds(found) == {("relation", ("registered", "casual"), True)}


def test_noise_on_a_sum_is_no_relation():
    frame = noise()
    assert not leaks(frame.assign(y=frame["a"] + frame["b"] + np.random.default_rng(4).normal(size=ROWS) * 0.3))


def test_one_feature_that_says_nearly_all_is_suspected():
    frame, rng = noise(), np.random.default_rng(5)
    frame["y"] = np.where(0.3 * frame["a"] + rng.normal(size=ROWS) > 0, "yes", "no")
    rating = np.where(frame["y"] == "yes", rng.choice([3, 4, 5], ROWS), rng.choice([1, 2, 3], ROWS))
    found = leaks(frame.assign(rating=rating))
    assert kinds(found) == {("dominance", ("rating",), False)}
    assert "'rating'" in found[0].message


def test_a_late_measurement_is_suspected_though_the_others_say_something_too():
    rng = np.random.default_rng(4)
    frame = noise(4)
    outcome = 1.1 * frame["a"] + rng.normal(size=ROWS) * 2
    frame["y"] = np.where(outcome > 1, "late", "on time")
    frame["departed late by"] = outcome + rng.normal(size=ROWS) * 0.9
    assert ("dominance", ("departed late by",), False) in kinds(leaks(frame))


def test_a_leak_does_not_hide_another():
    frame, rng = noise(), np.random.default_rng(6)
    score = rng.normal(size=ROWS)
    frame["y"] = np.where(score > 0, "yes", "no")
    found = leaks(
        frame.assign(copy=frame["y"].map({"yes": "ja", "no": "nein"}), later=score + rng.normal(size=ROWS) * 0.4)
    )
    assert kinds(found) == {("copy", ("copy",), True), ("dominance", ("later",), False)}


def test_two_columns_that_tell_only_together_are_suspected():
    rng = np.random.default_rng(7)
    planned = rng.uniform(0, 1_000, ROWS)
    delay = rng.exponential(30, ROWS)
    frame = noise().assign(planned=planned, arrived=planned + delay, y=np.where(delay > 40, "late", "in time"))
    found = leaks(frame)
    assert {(leak.kind, frozenset(leak.columns)) for leak in found} == {("pair", frozenset({"planned", "arrived"}))}


def test_what_is_filled_in_with_the_outcome_is_suspected():
    rng = np.random.default_rng(8)
    frame = noise()
    frame["y"] = np.where(rng.random(ROWS) > 0.4, "lost", "saved")
    boat = pd.Series(rng.choice(["A", "B", "C"], ROWS)).where((frame["y"] == "saved") & (rng.random(ROWS) < 0.95))
    assert ("missingness", ("boat",), False) in kinds(leaks(frame.assign(boat=boat)))


def test_what_is_empty_where_the_target_is_was_recorded_with_it():
    frame, known = noise(), np.arange(ROWS) >= 100
    table = pa.Table.from_pandas(frame.assign(a=frame["a"].where(known), b=frame["b"].where(frame["b"] > 0)))
    found = suspicion.recorded_together(table, list("abcd"), known)
    assert [leak.columns for leak in found] == [("a",)]
    assert "100 of the 100 rows" in found[0].message
    frame.loc[~known] = np.nan
    blank = pa.Table.from_pandas(frame)
    assert not suspicion.recorded_together(blank, list("abcd"), known)


@pytest.mark.parametrize(
    "load", [datasets.load_iris, datasets.load_breast_cancer, datasets.load_wine, datasets.load_diabetes]
)
def test_honest_tables_with_strong_features_raise_no_alarm(load: object):
    bunch = load(as_frame=True)  # type: ignore[operator]
    assert not leaks(bunch.frame.rename(columns={"target": "y"}))


@pytest.mark.parametrize("seed", range(5))
def test_made_tables_without_a_leak_raise_no_alarm(seed: int):
    rng = np.random.default_rng(seed)
    frame = noise(seed, 1_000)
    signal = frame @ rng.uniform(0.5, 1.5, size=4)
    assert not leaks(frame.assign(y=np.where(signal + rng.normal(size=1_000) > 0, "p", "n")))
    assert not leaks(frame.assign(y=signal + rng.normal(size=1_000)))


def test_another_name_for_a_column_is_told():
    frame, rng = noise(), np.random.default_rng(9)
    frame["level"] = rng.choice(["low", "middle", "high", "top"], ROWS)
    frame["number"] = frame["level"].map({"low": 1, "middle": 2, "high": 3, "top": 4})
    table = canonical(pa.Table.from_pandas(frame.assign(y=rng.random(ROWS) > 0.5), preserve_index=False))
    spec = spec_of()
    sample = giveaways.sample_of(
        table, columns.decide(table, spec), "y", targets.resolve(table.column("y"), spec.task), seed=1
    )
    assert [(one.code, one.column, one.severity) for one in giveaways.twins(sample)] == [
        ("relabelled_column", "number", "info")
    ]


def test_all_evidence_against_a_column_stands_in_one_finding():
    signs = [Leak(("x",), certain=False, kind="pair", message="First.", score=0.9),
             Leak(("x",), certain=True, kind="copy", message="Second.", score=1.0)]  # fmt: skip
    found = giveaways.as_findings(signs, Leakage(action="fail"))
    assert [(one.severity, one.code, one.message) for one in found] == [("fail", "leakage", "Second. First.")]
    assert giveaways.as_findings(signs[:1], Leakage(action="fail"))[0].severity == "warn"
