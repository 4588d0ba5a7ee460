"""The space: every point is inside, conditions hold, grids are exact."""

import json
import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidSpec
from app.spec.algorithms import PARAMS
from app.spec.modelling import Dimension, grid, grid_count, grid_points, grid_values, holds, parents_of
from tests.unit.test_search import BINARY, asked, ended, search, spec_of
from workers.search.space import at, contains, distribution_of, nearest_to, space_of
from workers.trainers import TRAINERS

ENDS = {
    "learning_rate": ("float", 0.001, 1.0), "num_leaves": ("int", 2, 300), "max_depth": ("int", 1, 16),
    "reg_lambda": ("float", 0.001, 50.0), "C": ("float", 0.01, 100.0), "min_child_samples": ("int", 1, 60),
}  # fmt: skip


@st.composite
def ranges(draw, name):
    kind, low, high = ENDS[name]
    share = draw(st.floats(0, 0.5)), draw(st.floats(0.5, 1))
    ends = [low + part * (high - low) for part in share]
    if kind == "int":
        ends = [int(ends[0]), int(ends[1])]
    step = draw(st.sampled_from([None, 1 if kind == "int" else (high - low) / 7]))
    return {"type": kind, "low": ends[0], "high": ends[1], "step": step, "log": step is None and draw(st.booleans())}


@st.composite
def spaces(draw, *, finite=False):
    """Spaces with or without several algorithms, with conditions on a choice or on an algorithm."""
    space = {}
    algorithms = draw(st.lists(st.sampled_from(["lightgbm", "linear"]), min_size=1, unique=True))
    if draw(st.booleans()):
        space["algorithm"] = {"type": "categorical", "choices": algorithms}
    else:
        algorithms = ["lightgbm"]
    known = [name for name in ENDS if any(name in PARAMS[each].model_fields for each in algorithms)]
    for name in draw(st.lists(st.sampled_from(known), min_size=1, max_size=4, unique=True)):
        space[name] = draw(ranges(name))
        if finite:
            space[name] = {"type": "categorical", "choices": sorted({space[name]["low"], space[name]["high"]})}
    if "lightgbm" in algorithms and draw(st.booleans()):
        space["extra_trees"] = {"type": "categorical", "choices": [True, False]}
        space["path_smooth"] = {"type": "categorical", "choices": [1.0, 2.0, 3.0], "when": {"extra_trees": [True]}}
    return space


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0.01, 0.1, 0.01), (0.7, 0.8, 0.1), (0.1, 0.7, 0.2), (0.5, 0.95, 0.05), (0.0, 1.0, 0.3)]
)
def test_a_stepped_range_ends_with_its_last_whole_step(low, high, step):
    space = {"colsample_bytree": {"type": "float", "low": low or 0.1, "high": high, "step": step}}
    dimension = spec_of({"max_trials": 5, "space": space}).tuning.space["colsample_bytree"]
    distribution = distribution_of(dimension)
    steps = int((high - dimension.low) / step + 1e-9)
    assert distribution.high == pytest.approx(dimension.low + steps * step, abs=1e-12)
    assert at(distribution, 1 - 1e-9) == pytest.approx(distribution.high, abs=1e-12)
    assert all(contains(distribution, value) for value in grid_values(dimension))


@given(spaces(), st.sampled_from(["uniform", "sobol", "tpe"]), st.integers(0, 9))
@settings(max_examples=40)
def test_every_suggestion_is_inside_the_space_and_allowed(space, sampler, seed):
    strategy = "bayesian" if sampler == "tpe" else "random"
    spec = spec_of({"strategy": strategy, "sampler": sampler, "max_trials": 40, "space": space}, seed=seed)
    where, history = space_of(spec, BINARY), []
    for number in range(14):
        params = asked(spec, number, history)
        assert where.holds(params)
        algorithm = params.get("algorithm", "lightgbm")
        assert ("algorithm" in params) == ("algorithm" in space)
        PARAMS[algorithm].model_validate({name: value for name, value in params.items() if name != "algorithm"})
        for name, dimension in spec.tuning.space.items():
            belongs = name == "algorithm" or name in PARAMS[algorithm].model_fields
            assert (name in params) == (belongs and holds(parents_of(dimension), params))
        history.append(ended(number, params, float(number % 5)))


@given(spaces(finite=True))
@settings(max_examples=40)
def test_a_grid_has_each_point_once_and_its_count(space):
    dimensions = spec_of({"strategy": "random", "space": space}).tuning.space
    points = list(grid(dimensions))
    assert len(points) == grid_points(dimensions) == len({repr(sorted(point.items())) for point in points})
    names = list(space)
    whole = [
        dict(zip(names, values, strict=True)) for values in product(*(grid_values(dimensions[name]) for name in names))
    ]
    for point in points:
        assert any(point.items() <= each.items() for each in whole)
    for each in whole:
        assert any(point.items() <= each.items() for point in points)


@pytest.mark.parametrize(("ends", "count"), [
    ({"type": "float", "low": 0.1, "high": 0.3, "step": 0.1}, 3), ({"type": "float", "low": 0, "high": 1, "step": 0.3}, 4),
    ({"type": "int", "low": -3, "high": 4, "step": 3}, 3), ({"type": "int", "low": 0, "high": 1e20}, 10**20 + 1),
    ({"type": "categorical", "choices": [1, 2]}, 2), ({"type": "float", "low": 5, "high": 5, "step": 9}, 1),
])  # fmt: skip
def test_values_of_a_dimension_are_counted_without_being_made(ends, count):
    assert grid_count(Dimension.model_validate(ends)) == count


@pytest.mark.parametrize("dimension", [
    {"type": "int", "low": 3, "high": 11, "step": 4}, {"type": "int", "low": 1, "high": 500, "log": True},
    {"type": "float", "low": 0.1, "high": 0.95, "step": 0.2}, {"type": "float", "low": 1e-3, "high": 10.0, "log": True},
    {"type": "categorical", "choices": [1, True, "a"]}, {"type": "int", "low": 5, "high": 5},
])  # fmt: skip
def test_shares_cover_a_dimension_and_what_is_near_is_inside(dimension):
    spec = spec_of({"strategy": "random", "space": {"num_leaves": {"type": "int", "low": 2, "high": 3}}})
    distribution = distribution_of(type(spec.tuning.space["num_leaves"]).model_validate(dimension))
    shares = [0.0, 0.25, 0.5, 0.75, 0.999999]
    assert all(contains(distribution, at(distribution, share)) for share in shares)
    for odd in (-1e9, 0, 7.3, 1e9, None, "a", True, 10**6):
        assert contains(distribution, nearest_to(distribution, odd))
    if "low" in dimension:
        assert at(distribution, 0.0) == pytest.approx(dimension["low"])
        assert nearest_to(distribution, -1e9) == pytest.approx(dimension["low"])
    assert not contains(distribution, float("nan"))


def test_a_branch_knows_the_point_nearest_to_any_parameters():
    spec = spec_of({"max_trials": 5}, params={"num_leaves": 40})
    branch = space_of(spec, BINARY).branches[0]
    near = branch.nearest({"learning_rate": 9.0, "num_leaves": 7})
    assert branch.inside(near) == near
    assert near["learning_rate"] == 0.2
    assert "num_leaves" not in near


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("algorithm", sorted(TRAINERS))
def test_the_default_spaces_hold_only_what_is_allowed(algorithm, task):
    for name, dimension in TRAINERS[algorithm].space(task, 1_000).items():
        distribution = distribution_of(dimension)
        for share in (0.0, 0.3, 0.6, 0.999999):
            PARAMS[algorithm].model_validate({name: at(distribution, share)})


@pytest.mark.parametrize(("space", "said"), [
    ({"num_leaves": {"type": "int", "low": 2, "high": 9}}, "is no parameter of linear"),
    ({"C": {"type": "float", "low": 0, "high": 1}}, "C of linear"),
    ({"algorithm": {"type": "categorical", "choices": ["linear", "lightgbm"]},
      "C": {"type": "float", "low": 0.1, "high": 1, "when": {"algorithm": ["lightgbm"]}}}, "is no parameter of"),
    ({"algorithm": {"type": "categorical", "choices": ["lightgbm", "xgboost"]},
      "max_depth": {"type": "int", "low": 2, "high": 40}}, "max_depth of xgboost"),
    ({"algorithm": {"type": "categorical", "choices": ["linear", "magic"]}}, "takes choices of"),
])  # fmt: skip
def test_a_space_that_cannot_be_searched_is_refused(space, said):
    with pytest.raises(InvalidSpec) as refused:
        spec_of({"strategy": "random", "space": space}, algorithm="linear")
    assert said in refused.value.violations[0].message


def test_one_name_in_two_algorithms_may_be_told_apart_by_a_condition():
    space = {
        "algorithm": {"type": "categorical", "choices": ["lightgbm", "xgboost"]},
        "max_depth": {"type": "int", "low": 2, "high": 40, "when": {"algorithm": ["lightgbm"]}},
    }
    spec = spec_of({"strategy": "random", "max_trials": 40, "space": space})
    for number in range(30):
        params = asked(spec, number)
        assert ("max_depth" in params) == (params["algorithm"] == "lightgbm")


def test_only_algorithms_named_means_their_own_spaces():
    space = {"algorithm": {"type": "categorical", "choices": ["lightgbm", "linear"]}}
    spec = spec_of({"strategy": "bayesian", "max_trials": 40, "space": space}, params={"max_bin": 63})
    history = []
    for number in range(30):
        params = asked(spec, number, history)
        own = set(TRAINERS[params["algorithm"]].space("binary", BINARY.rows))
        fixed = {"max_bin"} if params["algorithm"] == "lightgbm" else set()
        assert set(params) >= {"algorithm", *own, *fixed}
        history.append(ended(number, params, float(number)))
    assert {trial.params["algorithm"] for trial in history} == {"lightgbm", "linear"}


def test_the_space_on_the_page_is_one():
    page = (Path(__file__).parents[2] / "docs/strategies.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        tried = search(spec_of(json.loads(block)), 4, lambda _params: 0.5)
        assert {trial.params["algorithm"] for trial in tried} == {"lightgbm", "xgboost"}
