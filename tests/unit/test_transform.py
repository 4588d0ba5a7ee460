"""The encoder learns from training rows only, and gives serving the numbers that training saw."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from app.errors import DigestMismatch, InvalidData
from tests import modelling
from tests.learning import chain, make_context
from trainhouse_loader.encoding.encoder import Encoder
from trainhouse_loader.encoding.encoder import load as load_encoder
from workers.context import Context
from workers.matrix import encoding, prepared
from workers.matrix.prepared import Prepared
from workers.stages import ingest, split, transform, validate
from workers.table import snapshot

ROWS = 400
TYPES = {"zip": "categorical", "note": "text"}
TYPES_OF_FEATURES = {
    **TYPES, "x": "numeric", "count": "numeric", '[odd]{"name":,}': "numeric", "color": "categorical",
    "flag": "boolean", "at": "datetime",
}  # fmt: skip


def a_frame(rows: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({
        "x": rng.normal(size=rows), "count": rng.integers(0, 9, rows), '[odd]{"name":,}': rng.normal(size=rows),
        "color": rng.choice(["red", "green", "blue", "été"], rows), "zip": rng.integers(100, 108, rows),
        "flag": rng.random(rows) > 0.5, "note": rng.choice(["a fine day", "rain again", "so much snow today"], rows),
        "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**7, rows), unit="s"),
        "y": rng.choice(["no", "yes"], rows),
    })  # fmt: skip
    for place, name in enumerate(frame.columns[:-1]):
        frame[name] = frame[name].astype(object).where(np.arange(rows) % 20 != place)
    return frame.infer_objects()


def transformed(tmp_path: Path, frame: pd.DataFrame, **spec: Any) -> tuple[Context, Prepared, Encoder]:
    spec = {"task": {"target": "y"}, "data": {"features": {"types": TYPES}}, **spec}
    ctx = make_context(tmp_path, spec, table=frame)
    ctx, _ = chain(
        ctx, ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run)
    )
    return ctx, prepared.load(ctx.workspace.get("matrix")), load_encoder(ctx.workspace.get("encoder"))


WAYS = {
    "trees": {},
    "filled": {
        "transform": {"categorical": {"encode": "one_hot"}, "numeric": {"impute": "median", "scale": "standard"}}
    },
    "one_hot": {"transform": {"categorical": {"encode": "one_hot", "min_frequency": 5}}},
    "ordinal": {"transform": {"categorical": {"encode": "ordinal"}, "numeric": {"impute": "mean", "scale": "minmax"}}},
    "target": {"transform": {"categorical": {"encode": "target"}, "numeric": {"scale": "robust"}}},
    "embedding": {
        "transform": {"categorical": {"encode": "embedding", "dimensions": 3}, "numeric": {"scale": "quantile"}}
    },
    "mixed": {
        "transform": {"columns": {"color": {"encode": "one_hot"}, "x": {"impute": "constant", "scale": "standard"}}}
    },
    "regression": {"task": {"target": "x"}, "transform": {"categorical": {"encode": "target"}}},
}


@pytest.mark.parametrize("way", WAYS)
def test_serving_sees_what_training_saw_bit_for_bit(way: str, tmp_path: Path):
    frame = a_frame()
    ctx, matrix, encoder = transformed(tmp_path, frame, **WAYS[way])
    unseen = matrix.where("test")
    stored = snapshot.frame(snapshot.read(ctx.workspace.get("snapshot")))
    rows = stored.iloc[matrix.row[unseen]]
    expected = matrix.x[unseen]
    np.testing.assert_array_equal(encoder.transform(rows), expected)
    alone = np.vstack([encoder.transform(rows.iloc[[place]]) for place in range(5)])
    np.testing.assert_array_equal(alone, expected[:5])
    loose = pd.DataFrame({name: [None if pd.isna(value) else str(value) if place % 2 else value
                                 for place, value in enumerate(rows[name].tolist())] for name in rows}, dtype=object)  # fmt: skip
    np.testing.assert_array_equal(encoder.transform(loose), expected)
    written = loose.map(lambda value: None if value is None else str(value)).astype("str")
    np.testing.assert_array_equal(encoder.transform(written), expected)


@pytest.mark.parametrize("way", WAYS)
def test_the_encoder_file_has_the_same_bytes_each_time(way: str, tmp_path: Path):
    ctx, _, encoder = transformed(tmp_path, a_frame(), **WAYS[way])
    again = tmp_path / "again.skops"
    encoding.dump(encoder, again)
    assert again.read_bytes() == ctx.workspace.get("encoder").read_bytes()
    (tmp_path / "second").mkdir()
    second, _, _ = transformed(tmp_path / "second", a_frame(), **WAYS[way])
    assert second.workspace.get("encoder").read_bytes() == again.read_bytes()


@pytest.mark.parametrize("way", WAYS)
def test_values_never_seen_are_no_error(way: str, tmp_path: Path):
    _, matrix, encoder = transformed(tmp_path, a_frame(), **WAYS[way])
    strange: list[Any] = [None, "never seen", -1e300, float("inf"), True, "2030-01-01", "", 10**30, float("nan")]
    frame = pd.DataFrame(dict.fromkeys(encoder.input_columns, strange), dtype=object)
    found = encoder.transform(frame)
    assert found.shape == (len(strange), matrix.x.shape[1])
    assert not np.isinf(found).any()
    empty = encoder.transform(frame.head(0))
    assert empty.shape == (0, matrix.x.shape[1])
    if way == "filled":
        assert not np.isnan(found).any()


def test_trees_get_codes_and_missing_values_as_they_are(tmp_path: Path):
    _, matrix, encoder = transformed(tmp_path, a_frame())
    names = [encoder.feature_names[place] for place in encoder.categorical]
    assert names == ["color", "zip"]
    color = matrix.x[:, encoder.categorical[0]]
    assert set(np.unique(color[~np.isnan(color)])) == {0, 1, 2, 3}
    assert np.isnan(matrix.x[:, encoder.feature_names.index("x")]).any()
    assert '[odd]{"name":,}' in encoder.feature_names
    assert {"at.year", "at.hour", "note[0]"} <= set(encoder.feature_names)


@pytest.mark.parametrize("algorithm", ["linear", "random_forest"])
def test_every_algorithm_gets_the_same_matrix_and_encoder(algorithm: str, tmp_path: Path):
    for name, chosen in (("one", "lightgbm"), ("two", algorithm)):
        (tmp_path / name).mkdir()
        ctx, _, _ = transformed(tmp_path / name, a_frame(), training={"algorithm": chosen})
        (tmp_path / f"{name}.bytes").write_bytes(
            ctx.workspace.get("matrix").read_bytes() + ctx.workspace.get("encoder").read_bytes()
        )
    assert (tmp_path / "one.bytes").read_bytes() == (tmp_path / "two.bytes").read_bytes()


def test_numbers_are_filled_and_scaled_where_it_is_asked_for(tmp_path: Path):
    _, matrix, encoder = transformed(tmp_path, a_frame(), **WAYS["filled"])
    assert not encoder.categorical
    assert not np.isnan(matrix.x).any()
    x = matrix.x[matrix.where("train"), encoder.feature_names.index("x")]
    assert (x.mean(), x.std()) == pytest.approx((0.0, 1.0), abs=1e-9)
    assert {"color=été", "color=(missing)"} <= set(encoder.feature_names)


def test_rare_categories_share_one_column(tmp_path: Path):
    frame = a_frame()
    frame["color"] = frame["color"].where(np.arange(ROWS) > 6, [f"rare {row}" for row in range(ROWS)])
    _, _, encoder = transformed(tmp_path, frame, transform={"categorical": {"encode": "one_hot"}})
    assert "color=(infrequent)" in encoder.feature_names
    assert not any("rare" in name for name in encoder.feature_names)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_learned_from_rows_that_judge(way: str, tmp_path: Path):
    frame = a_frame().assign(part_of=["train"] * 300 + ["validation"] * 50 + ["test"] * 50)
    spec = {**WAYS[way], "split": {"method": "predefined", "column": "part_of"}}
    features = [name for name in TYPES_OF_FEATURES if name != spec.get("task", {}).get("target")]
    spec["data"] = {"features": {"types": {name: TYPES_OF_FEATURES[name] for name in features}}}
    changed = frame.copy()
    changed.loc[300:, "x"] = np.arange(100) * 1e6
    changed.loc[300:, "count"] = -5
    changed.loc[300:, ["color", "note"]] = "never seen before in any row"
    changed.loc[300:, "zip"] = 999
    changed.loc[300:, "at"] = pd.Timestamp("2031-05-05")
    changed.loc[300:, "y"] = changed.loc[300:, "y"].map({"yes": "no", "no": "yes"})
    found = []
    for place, table in enumerate((frame, changed)):
        (tmp_path / str(place)).mkdir()
        ctx, matrix, _ = transformed(tmp_path / str(place), table, **spec)
        found.append((ctx.workspace.get("encoder").read_bytes(), matrix.x[matrix.where("train")]))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_no_training_row_sees_its_own_target(tmp_path: Path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"key": [f"k{row // 2}" for row in range(600)], "x": rng.normal(size=600), "y": rng.normal(size=600)}
    )
    _, matrix, _ = transformed(tmp_path, frame, task={"target": "y"}, transform={"categorical": {"encode": "target"}},
                               data={"features": {"types": {"key": "categorical"}}})  # fmt: skip
    train = matrix.where("train")
    place = matrix.feature_names.index("key.target")
    assert abs(np.corrcoef(matrix.x[train, place], matrix.y[train])[0, 1]) < 0.3


def test_the_matrix_says_rows_parts_classes_and_weights(tmp_path: Path):
    frame = a_frame().assign(w=np.arange(ROWS) % 3)
    frame.loc[5, "y"] = None
    _, matrix, encoder = transformed(
        tmp_path, frame, task={"target": "y", "weight_column": "w", "positive_class": "no"}
    )
    assert (matrix.task, matrix.classes) == ("binary", ("yes", "no"))
    assert matrix.x.flags.c_contiguous
    assert matrix.row.tolist() == [row for row in range(ROWS) if row != 5]
    assert matrix.y.tolist() == [float(frame["y"][row] == "no") for row in matrix.row]
    assert matrix.weight is not None
    assert matrix.weight.tolist() == [row % 3 for row in matrix.row]
    assert "w" not in encoder.input_columns


@pytest.mark.parametrize("weight", ["text", -1.0, None])
def test_weights_that_are_none_are_refused(weight: Any, tmp_path: Path):
    frame = a_frame().assign(w=[weight] + [type(weight)(1.5) if weight else 1.5] * (ROWS - 1))
    with pytest.raises(InvalidData) as refused:
        transformed(tmp_path, frame, task={"target": "y", "weight_column": "w"})
    assert refused.value.stable_code == "bad_weight"


def test_a_row_without_an_input_column_is_refused(tmp_path: Path):
    _, _, encoder = transformed(tmp_path, a_frame())
    with pytest.raises(InvalidData, match="color"):
        encoder.transform(a_frame().drop(columns="color"))


def test_a_file_with_another_type_or_of_another_kind_is_not_opened(tmp_path: Path):
    path = tmp_path / "evil.skops"
    skops.io.dump({"blocks": [Context]}, path)
    with pytest.raises(DigestMismatch):
        load_encoder(path)
    path.write_bytes(b"\x80\x04 no zip")
    with pytest.raises(DigestMismatch):
        load_encoder(path)
    skops.io.dump(DecisionTreeClassifier(), path)
    with pytest.raises(DigestMismatch):
        load_encoder(path)


def test_the_encoder_file_holds_no_pickle(tmp_path: Path):
    ctx, _, _ = transformed(tmp_path, a_frame(), **WAYS["filled"])
    with zipfile.ZipFile(ctx.workspace.get("encoder")) as archive:
        assert {name.rsplit(".", 1)[-1] for name in archive.namelist()} <= {"json", "npy", "npz"}
        assert all(not archive.read(name).startswith(b"\x80") for name in archive.namelist())


EDGES: dict[str, list[Any]] = {
    "infinite": [float("inf"), -float("inf"), 1.5, 2.5],
    "huge": [1e308, -1e308, 1e-308, 0.5],
    "far": [pd.Timestamp("0001-01-01"), pd.Timestamp("9999-12-31"), None, pd.Timestamp("1969-12-31")],
    "long": [2**63 - 1, -(2**63), 0, None],
    "nearly_empty": ["once", *[None] * 399],
}


@pytest.mark.parametrize("way", ["trees", "filled", "target"])
@pytest.mark.parametrize("edge", EDGES)
def test_values_at_the_edge_of_their_type_are_no_error(edge: str, way: str, tmp_path: Path):
    values = (EDGES[edge] * ROWS)[:ROWS]
    kind = "Int64" if edge == "long" else None
    frame = a_frame()[["x", "y"]].assign(edge=pd.Series(values, dtype=kind))
    spec = {**WAYS[way], "data": {}, "validation": {"max_null_fraction": 1.0}}
    _, matrix, _ = transformed(tmp_path, frame, **spec)
    assert not np.isinf(matrix.x).any()


def test_rare_and_unseen_labels_share_a_code_of_their_own(tmp_path: Path):
    frame = a_frame().assign(shop=[f"s{row % 4}" if row % 10 else f"rare {row}" for row in range(ROWS)])
    _, matrix, encoder = transformed(
        tmp_path, frame, task={"target": "y"}, data={"features": {"types": {**TYPES, "shop": "categorical"}}}
    )
    place = encoder.feature_names.index("shop")
    assert set(np.unique(matrix.x[:, place])) == {0, 1, 2, 3, 4}
    rows = frame.head(4).assign(shop=["s2", "rare 0", "new", None])
    assert encoder.transform(rows)[:3, place].tolist() == [2.0, 4.0, 4.0]
    assert np.isnan(encoder.transform(rows)[3, place])
    color = encoder.transform(rows.assign(color="new"))[:, encoder.feature_names.index("color")]
    assert np.isnan(color).all()


def test_a_column_may_be_treated_otherwise(tmp_path: Path):
    own = {"note": {"dimensions": 2}, "zip": {"encode": "one_hot", "max_categories": 3},
           "color": {"encode": "embedding", "dimensions": 1}, "count": {"encode": "native", "max_categories": 3}}  # fmt: skip
    _, matrix, encoder = transformed(tmp_path, a_frame(), transform={"columns": own})
    lineage = dict(zip(encoder.feature_names, encoder.lineage, strict=True))
    made = {column: [name for name, source in lineage.items() if source == column] for column in own}
    assert made["note"] == ["note[0]", "note[1]", "note.says"]
    assert len(made["zip"]) == 4
    assert {"zip=(infrequent)", "zip=(missing)"} <= set(made["zip"])
    assert made["color"] == ["color[0]"]
    assert encoder.feature_names[encoder.categorical[0]] == "count"
    codes = matrix.x[:, encoder.categorical[0]]
    assert set(np.unique(codes[~np.isnan(codes)])) == {0, 1, 2}


@pytest.mark.parametrize("way", WAYS)
def test_every_feature_names_the_column_that_it_is_made_of(way: str, tmp_path: Path):
    ctx, matrix, encoder = transformed(tmp_path, a_frame(), **WAYS[way])
    written = json.loads(ctx.workspace.get("lineage").read_text())
    assert [one["feature"] for one in written] == list(matrix.feature_names)
    assert [one["column"] for one in written] == list(encoder.lineage)
    assert set(encoder.lineage) == set(encoder.input_columns)
    for one in written:
        assert one["feature"].startswith(one["column"])


def test_a_table_of_many_row_groups_is_encoded_as_one(tmp_path: Path):
    rows = 3 * 131_072 + 5
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({
        "x": rng.normal(size=rows), "k": rng.integers(0, 50, rows).astype(str), "y": rng.choice(["a", "b", None], rows),
    })  # fmt: skip
    frame["k"] = "k" + frame["k"]
    ctx, matrix, encoder = transformed(tmp_path, frame, data={}, transform={"categorical": {"encode": "target"}})
    stored = snapshot.frame(snapshot.read(ctx.workspace.get("snapshot"))).iloc[matrix.row]
    expected = encoder.transform(stored)
    judged = ~matrix.where("train")
    np.testing.assert_array_equal(matrix.x[judged], expected[judged])
    assert matrix.row.tolist() == np.flatnonzero(frame["y"].notna()).tolist()
    train = matrix.where("train")
    place = matrix.feature_names.index("k.target")
    assert (matrix.x[train, place] != expected[train, place]).mean() > 0.9
    np.testing.assert_allclose(matrix.x[train, place], expected[train, place], atol=0.02)


def test_the_matrix_is_a_read_only_map_of_its_file(tmp_path: Path):
    ctx, matrix, _ = transformed(tmp_path, a_frame().assign(w=1.5), task={"target": "y", "weight_column": "w"})
    again = tmp_path / "again"
    prepared.save(matrix, again)
    assert again.read_bytes() == ctx.workspace.get("matrix").read_bytes()
    loaded = prepared.load(again)
    for name in ("x", "y", "weight", "part", "row"):
        array = getattr(loaded, name)
        assert not array.flags.owndata
        assert not array.flags.writeable
        assert array.flags.aligned
        np.testing.assert_array_equal(array, getattr(matrix, name))


def test_a_mapped_matrix_that_is_let_go_takes_no_memory_and_is_read_again(tmp_path: Path):
    made = modelling.matrix("binary", rows=100_000)
    prepared.save(made, tmp_path / "matrix")
    loaded = prepared.load(tmp_path / "matrix")
    assert loaded.x.sum() == made.x.sum()
    assert resident_bytes(tmp_path / "matrix") >= made.x.nbytes
    loaded.let_go()
    assert resident_bytes(tmp_path / "matrix") < made.x.nbytes / 10
    np.testing.assert_array_equal(loaded.x, made.x)
    made.let_go()  # not mapped: nothing to let go
    np.testing.assert_array_equal(loaded.x, made.x)


def resident_bytes(path: Path) -> int:
    """What this process holds of the maps of `path`."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        word, *rest = line.split()
        if not word.endswith(":"):
            ours = rest[-1] == str(path)
        elif ours and word == "Rss:":
            found += 1024 * int(rest[0])
    return found


def test_a_few_directions_of_a_text_know_its_subject(tmp_path: Path):
    rng = np.random.default_rng(0)
    good, bad, other = (
        ["lovely", "great", "perfect"],
        ["torn", "awful", "return"],
        [f"word{place}" for place in range(200)],
    )
    y = rng.choice(["no", "yes"], 2_000)
    note = [
        " ".join(rng.permutation([*rng.choice(other, 12), *rng.choice(good if label == "yes" else bad, 2)]))
        for label in y
    ]
    _, matrix, _ = transformed(
        tmp_path, pd.DataFrame({"note": note, "y": y}), data={"features": {"types": {"note": "text"}}}
    )
    train, test = matrix.where("train"), matrix.where("test")
    fitted = DecisionTreeClassifier(max_depth=4, random_state=0).fit(matrix.x[train], matrix.y[train])
    assert fitted.score(matrix.x[test], matrix.y[test]) > 0.9


def test_text_without_any_word_is_no_error(tmp_path: Path):
    frame = a_frame().assign(note=None)
    _, matrix, encoder = transformed(tmp_path, frame, validation={"max_null_fraction": 1.0})
    assert not np.isnan(matrix.x[:, encoder.feature_names.index("note[0]")]).any()


def test_a_column_of_very_many_labels_becomes_the_mean_of_the_target(tmp_path: Path):
    rng = np.random.default_rng(4)
    shop = rng.integers(0, 600, 3_000)
    effect = rng.normal(size=600)
    frame = pd.DataFrame({"shop": [f"s{place}" for place in shop], "color": rng.choice(["red", "blue"], 3_000),
                          "x": rng.normal(size=3_000), "y": np.where(effect[shop] + rng.normal(size=3_000) > 0, "yes", "no")})  # fmt: skip
    _, matrix, encoder = transformed(tmp_path, frame, data={"features": {"types": {"shop": "categorical"}}})
    assert "shop.target" in encoder.feature_names
    assert "color" in encoder.feature_names
    test = matrix.where("test")
    assert np.corrcoef(matrix.x[test, encoder.feature_names.index("shop.target")], matrix.y[test])[0, 1] > 0.3


def in_parts(frame: pd.DataFrame) -> dict[str, Any]:
    """What a spec says of a frame whose column `part` divides it: 60 % train, 20 % validation, 20 % test, in order."""
    frame["part"] = np.repeat(["train", "validation", "test"], np.array([6, 2, 2]) * len(frame) // 10)
    return {"split": {"method": "predefined", "column": "part"}}


def test_a_target_column_is_learned_where_the_train_rows_lack_a_class(tmp_path: Path):
    frame = a_frame()
    frame["y"] = np.where(np.arange(ROWS) % 2 == 0, "c", np.where(np.arange(ROWS) < ROWS * 0.7, "b", "a"))
    _, matrix, encoder = transformed(tmp_path, frame, **in_parts(frame), **WAYS["target"])
    assert len(matrix.classes) == 3
    assert sum(name.startswith("color.target") for name in encoder.feature_names) == 1


def test_a_target_column_is_learned_of_classes_with_a_row_each(tmp_path: Path):
    frame = a_frame(60)
    frame["y"] = [f"class {place}" for place in range(30)] * 2
    spec = {**WAYS["target"], "task": {"target": "y", "type": "multiclass"}}
    _, matrix, encoder = transformed(tmp_path, frame, **in_parts(frame), **spec)
    found = matrix.x[:, [place for place, name in enumerate(encoder.feature_names) if ".target" in name]]
    assert found.shape[1] > 1
    assert np.isfinite(found).all()


def test_what_the_target_is_like_is_learned_of_all_rows_that_the_model_learns_from(tmp_path: Path):
    frame = a_frame()
    frame["y"] = np.exp(np.random.default_rng(0).normal(size=ROWS))
    spec = in_parts(frame)
    frame.loc[int(ROWS * 0.7), "y"] = 0.0
    frame.loc[ROWS - 1, "y"] = -1.0
    ctx, matrix, _ = transformed(tmp_path, frame, **spec)
    assert (matrix.y[matrix.where("train")] > 0).all()
    assert ctx.outputs["transform"]["target"]["least"] == 0.0


@pytest.mark.parametrize("impute", ["median", "mean", "constant", "none"])
@pytest.mark.parametrize("scale", ["standard", "minmax", "robust", "quantile", "none"])
def test_what_is_learned_column_by_column_is_what_scikit_learn_learns_of_all(tmp_path, impute, scale):
    random = np.random.default_rng(5)
    frame = pd.DataFrame({f"n{index}": random.normal(size=200) * 10.0**index for index in range(4)})
    frame["at"] = pd.date_range("2024-01-01", periods=200, freq="37min")
    frame = frame.mask(random.random(frame.shape) < 0.05)
    frame["y"] = random.integers(0, 2, 200)
    numeric = {"impute": impute, "scale": scale}
    _, matrix, _ = transformed(tmp_path, frame, data={}, transform={"numeric": numeric})
    _, plain, _ = transformed(tmp_path / "plain", frame, data={}, transform={"numeric": {"impute": "none"}})
    raw = plain.x[:, [plain.feature_names.index(name) for name in matrix.feature_names]]
    steps = []
    if impute != "none":
        steps.append(SimpleImputer(strategy=impute, fill_value=0.0 if impute == "constant" else None))
    scaler = {"standard": StandardScaler(), "minmax": MinMaxScaler(), "robust": RobustScaler()}.get(scale)
    if scale == "quantile":
        train = int((matrix.part == 0).sum())
        scaler = QuantileTransformer(n_quantiles=train, output_distribution="normal", random_state=42)
    expected = raw
    for step in [*steps, *([scaler] if scaler else [])]:
        expected = step.fit(expected[matrix.part == 0]).transform(expected)
    np.testing.assert_allclose(matrix.x, expected, rtol=1e-9, atol=1e-9)
