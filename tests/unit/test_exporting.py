"""The ONNX form of a pipeline: every block, every model, and what it must refuse, against what training computes."""

import datetime as dt
import json
from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest
from scipy.stats import norm

from app.errors import InvalidSpec
from tests.contracts.test_trainers import fitted, rows
from tests.learning import parsed
from tests.unit.test_transform import TYPES, WAYS, a_frame, transformed
from trainhouse_loader.encoding.encoder import Encoder
from trainhouse_loader.models import ensemble
from trainhouse_loader.models.finish import Finish
from workers.exporting import columns, export, scaling, times, unexportable
from workers.exporting.graph import Graph
from workers.search.auto import space_of_search
from workers.search.facts import Facts
from workers.stages import train
from workers.trainers import TRAINERS

TASKS = ("binary", "multiclass", "regression")
CATEGORIES = {"zip": "categorical", "note": "categorical"}


def answered(graph: Graph, value: str, frame: pd.DataFrame, width: int | None = None) -> np.ndarray:
    """What `value` of `graph` is for the rows of `frame`."""
    model = graph.model({"out": (value, onnx.TensorProto.DOUBLE, width)}, {})
    opened = export.session(model.SerializeToString())
    return opened.run(["out"], export.feeds(frame, graph.inputs))[0]


def strange(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with rows that training never saw: nothing at all, unseen labels, ends of the range."""
    frame = frame.astype(object)
    return pd.concat([frame, pd.DataFrame([
        dict.fromkeys(frame.columns),
        {**dict.fromkeys(frame.columns), "color": "never", "zip": 1, "note": "\N{SNOWMAN}", "x": 1e200, "count": -5},
        {**dict.fromkeys(frame.columns), "x": -1e140, "flag": True, "at": pd.Timestamp("1903-02-28 23:59:59.999999")},
        {**dict.fromkeys(frame.columns), "color": "red", "at": pd.Timestamp("2400-02-29")},
    ])], ignore_index=True).infer_objects()  # fmt: skip


@pytest.mark.parametrize("way", [*sorted(set(WAYS) - {"embedding"}), "quantile", "times"])
def test_every_block_encodes_as_the_encoder_does(way, tmp_path):
    spec = {
        "quantile": {"transform": {"numeric": {"scale": "quantile"}}},
        "times": {"data": {"features": {"types": {**CATEGORIES, "at": "categorical", "flag": "categorical"}}}},
    }.get(way) or WAYS[way]
    spec = {"data": {"features": {"types": CATEGORIES}}, **spec}
    frame = a_frame()
    _, _, encoder = transformed(tmp_path, frame, **spec)
    given = strange(frame.drop(columns=spec.get("task", {}).get("target", "y")))
    graph = Graph(columns.inputs_of(encoder))
    found = answered(graph, columns.matrix(graph, encoder), given, len(encoder.feature_names))
    expected = encoder.transform(given)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("encode", ["one_hot", "native", "target"])
def test_categories_without_a_frequent_label_are_encoded_as_the_encoder_does(encode, tmp_path):
    frame = a_frame()
    frame["zip"] = np.arange(len(frame))
    frame["note"] = [f"note {place}" for place in range(len(frame))]
    transform = {"categorical": {"encode": encode, "min_frequency": 20}}
    _, _, encoder = transformed(tmp_path, frame, data={"features": {"types": CATEGORIES}}, transform=transform)
    given = strange(frame.drop(columns="y"))
    graph = Graph(columns.inputs_of(encoder))
    found = answered(graph, columns.matrix(graph, encoder), given, len(encoder.feature_names))
    assert np.allclose(found, encoder.transform(given), rtol=1e-12, atol=1e-12, equal_nan=True)


def plain(data) -> Encoder:
    """An encoder that hands on numbers."""
    names = [f"c{place}" for place in range(data.x.shape[1])]
    block = {"kind": "number", "columns": names, "names": names, "origins": list(range(len(names))), "imputer": None,
             "scaler": None}  # fmt: skip
    return Encoder(tuple(names), tuple(names), (), (block,))


def asked(data) -> np.ndarray:
    """The rows of a matrix, and some that are far from them or hold nothing."""
    random = np.random.default_rng(3)
    far = random.normal(size=(50, data.x.shape[1])) * 10.0 ** random.integers(-3, 6, size=(50, 1))
    far[:, 4] = random.integers(0, 12, size=50)
    far[random.random(far.shape) < 0.2] = np.nan
    return np.concatenate([data.x, far, np.full((1, data.x.shape[1]), np.nan), np.zeros((1, data.x.shape[1]))])


def agreed(model, data, tolerance=1e-9):
    encoder, x = plain(data), asked(data)
    frame = pd.DataFrame(x, columns=list(encoder.input_columns))
    content = export.exported(encoder, model, classes=data.classes)
    assert content == export.exported(encoder, model, classes=data.classes)
    expected, found = model.predict(x), export.answers(content, frame)
    assert found.shape == expected.shape
    assert (np.abs(found - expected) / np.maximum(1.0, np.abs(expected))).max() <= tolerance
    return content, frame, expected


def of(name, data, *, weight=1.0, **recipe):
    return ensemble.packed(name, {}, fitted(TRAINERS[name], data, **recipe), weight=weight)


SINGLE = {"xgboost", "catboost"}
"""They add up, or keep, numbers of 32 bits."""


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(TRAINERS))
def test_every_model_answers_as_it_does_itself(name, task):
    data = rows(task)
    if name == "catboost":
        data = replace(rows(task), categorical=())
    agreed(ensemble.opened([of(name, data)]), data, tolerance=2e-6 if name in SINGLE else 1e-9)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "extra_trees", "linear"])
def test_a_category_of_many_levels_is_asked_for_members(name):
    data = rows("binary", number=4_000)
    codes = np.random.default_rng(5).integers(0, 300, size=4_000).astype(float)
    x = data.x.copy()
    x[:, 4] = codes
    y = ((codes % 7 < 3) ^ (data.x[:, 0] > 1)).astype(float)
    data = replace(data, x=x, y=y)
    agreed(ensemble.opened([of(name, data)]), data, tolerance=2e-6)


@pytest.mark.parametrize("objective", ["poisson", "quantile", "huber"])
@pytest.mark.parametrize("name", sorted(TRAINERS))
def test_every_objective_answers_as_it_does_itself(name, objective):
    data = rows("regression", objective)
    if name == "catboost":
        data = replace(rows("regression", objective), categorical=())
    model = ensemble.opened([of(name, data, objective=objective)])
    agreed(model, data, tolerance=1e-5 if name in SINGLE else 1e-9)


@pytest.mark.parametrize("name", sorted(TRAINERS))
def test_a_model_of_one_leaf_answers(name):
    data = replace(rows("binary"), categorical=()) if name == "catboost" else rows("binary")
    agreed(ensemble.opened([of(name, data, max_iterations=1)]), data, tolerance=2e-6)


@pytest.mark.parametrize(
    ("task", "finish"),
    [("binary", Finish("sigmoid", 0.7, -0.3, threshold=0.31)), ("multiclass", Finish("temperature", 1.7)),
     ("binary", Finish(threshold=0.8)), ("multiclass", Finish())],
)  # fmt: skip
def test_several_models_answer_together_and_are_finished(task, finish):
    data = rows(task)
    members = [of("lightgbm", data, weight=0.5), of("linear", data, weight=0.2), of("extra_trees", data, weight=0.3)]
    content, frame, expected = agreed(ensemble.opened(members, finish=finish), data)
    opened = export.session(content)
    (names,) = opened.run(["prediction"], export.feeds(frame, json.loads(
        opened.get_modelmeta().custom_metadata_map[export.FACT])))  # fmt: skip
    places = expected.argmax(axis=1) if len(data.classes) > 2 else (expected[:, 1] >= finish.threshold).astype(int)
    assert names.tolist() == [data.classes[place] for place in places]


def test_the_calendar_is_pandas_own():
    written = ["1970-01-01", "1969-12-31 23:59:59.999999", "2000-02-29 12:00", "1900-02-28 23:00", "1600-01-01",
               "2399-12-31", "2024-12-31 23:59:59", "0804-03-01"]  # fmt: skip
    days = np.arange("1890-01-01", "2110-01-01", 81, dtype="datetime64[D]")
    stamps = pd.Series(np.concatenate([np.array(written, "datetime64[us]"), days.astype("datetime64[us]")]))
    graph = Graph({"at": "time"})
    parts = times.parts(graph, "at")
    found = answered(
        graph, graph.op("Concat", *(graph.column(part) for part in parts), axis=1), stamps.to_frame("at"), 6
    )
    own = stamps.dt
    for place, expected in enumerate((own.year, own.month, own.day, own.day_of_week, own.hour)):
        assert found[:, place].tolist() == expected.astype(float).tolist()
    epoch = dt.datetime(1970, 1, 1)  # noqa: DTZ001  # all are UTC
    assert found[:, 5].tolist() == [(each.to_pydatetime() - epoch).total_seconds() for each in stamps]


def test_the_quantile_of_the_normal_distribution_is_scipys():
    shares = np.concatenate([np.linspace(1e-9, 1 - 1e-9, 20_001), 10.0 ** -np.linspace(1, 9, 500)])
    graph = Graph({"share": "number"})
    found = answered(graph, scaling._normal(graph, "share"), pd.DataFrame({"share": shares}))
    assert np.allclose(found, norm.ppf(shares), rtol=1e-12, atol=1e-14)


def test_names_of_columns_may_be_any_text(tmp_path):
    frame = a_frame().rename(columns={"x": "·1", "count": "··c", "color": "prediction"})
    _, _, encoder = transformed(tmp_path, frame, data={"features": {"types": CATEGORIES}})
    graph = Graph(columns.inputs_of(encoder))
    given = frame.drop(columns="y")
    found = answered(graph, columns.matrix(graph, encoder), given, len(encoder.feature_names))
    assert np.allclose(found, encoder.transform(given), equal_nan=True)


def test_text_is_refused_before_anything_is_fitted(tmp_path):
    spec = {"data": {"features": {"types": TYPES}}, "registration": {"exports": ["onnx"]}}
    ctx, _, _ = transformed(tmp_path, a_frame(), **spec)
    with pytest.raises(InvalidSpec, match="'note' is read as text") as refused:
        train.run(ctx)
    (fault,) = refused.value.violations
    assert (fault.pointer, fault.code, fault.facts) == ("/registration/exports/0", "not_exportable", {"column": "note"})


def test_catboost_of_categories_is_refused_before_anything_is_fitted(tmp_path):
    spec = {"training": {"algorithm": "catboost"}, "registration": {"exports": ["onnx"]},
            "data": {"features": {"types": CATEGORIES}}}  # fmt: skip
    ctx, _, _ = transformed(tmp_path, a_frame(), **spec)
    with pytest.raises(InvalidSpec, match="statistics of categories"):
        train.run(ctx)
    spec["transform"] = {"categorical": {"encode": "target"}}
    _, _, encoder = transformed(tmp_path / "again", a_frame(), **spec)
    unexportable.refuse(unexportable.kinds_of(encoder), ["catboost"])


@pytest.mark.parametrize("name", ["prediction", "probabilities"])
def test_a_column_of_the_name_of_an_output_is_refused_before_anything_is_fitted(name):
    with pytest.raises(InvalidSpec, match="name of an output") as refused:
        unexportable.refuse({name: "number", "other": "number"}, ["lightgbm"])
    assert [fault.facts for fault in refused.value.violations] == [{"column": name}]


def test_a_search_that_chooses_its_algorithms_leaves_out_what_cannot_be_exported():
    facts = Facts(task="binary", rows=1_000, features=3, categorical=2, classes=2, validation=200)
    for exports, there in (([], True), (["onnx"], False)):
        spec = parsed({
            "model": "exported", "task": {"target": "y"}, "tuning": {"max_seconds": 60}, "registration": {"exports": exports},
            "data": {"sources": {"main": {"kind": "dataset", "dataset_id": "ds_00000000"}}},
        })  # fmt: skip
        searched = {branch.algorithm for branch in space_of_search(spec, facts).branches}
        assert ("catboost" in searched) is there
        assert "lightgbm" in searched
