"""A text says something of the target: learned from words, and never by a model that has seen the row's own text."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from tests.learning import chain, make_context
from trainhouse_loader.encoding.encoder import Encoder
from trainhouse_loader.encoding.encoder import load as load_encoder
from trainhouse_loader.encoding.saying import scores
from workers.context import Context
from workers.matrix import prepared, saying, texts
from workers.matrix.prepared import Prepared
from workers.stages import ingest, split, transform, validate
from workers.table import snapshot

ROWS = 1_200
GOOD, BAD = ["lovely", "great", "perfect", "soft"], ["torn", "awful", "return", "cheap"]
OTHER = [f"word{place}" for place in range(150)]


def notes(y: npt.NDArray[Any], seed: int = 0) -> list[str]:
    """Texts of ten words, of which three tell whether `y` is positive."""
    rng = np.random.default_rng(seed)
    told = [rng.choice(GOOD if value > 0 else BAD, 3) for value in y]
    return [" ".join(rng.permutation([*rng.choice(OTHER, 7), *words])) for words in told]


def transformed(tmp_path: Path, frame: pd.DataFrame, **spec: Any) -> tuple[Context, Prepared, Encoder]:
    spec = {"task": {"target": "y"}, "data": {"features": {"types": {"note": "text"}}}, **spec}
    ctx = make_context(tmp_path, spec, table=frame)
    ctx, _ = chain(
        ctx, ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run)
    )
    return ctx, prepared.load(ctx.workspace.get("matrix")), load_encoder(ctx.workspace.get("encoder"))


def says(matrix: Prepared, part: str, name: str = "note.says") -> npt.NDArray[np.float64]:
    return np.asarray(matrix.x[matrix.where(part), matrix.feature_names.index(name)])


def a_frame(rows: int = ROWS) -> pd.DataFrame:
    y = np.random.default_rng(1).choice([-1, 1], rows)
    return pd.DataFrame({"note": notes(y), "y": np.where(y > 0, "yes", "no")})


def rows_of(ctx: Context, matrix: Prepared, part: str) -> pd.DataFrame:
    return snapshot.frame(snapshot.read(ctx.workspace.get("snapshot"))).iloc[matrix.row[matrix.where(part)]]


def test_unseen_texts_are_told_apart_by_what_they_say(tmp_path: Path):
    _, matrix, _ = transformed(tmp_path, a_frame())
    for part in ("train", "test"):
        assert roc_auc_score(matrix.y[matrix.where(part)], says(matrix, part)) > 0.97


@pytest.mark.parametrize("scale", ["none", "standard"])
def test_no_training_row_is_scored_by_a_model_that_has_seen_it(scale: str, tmp_path: Path):
    rng = np.random.default_rng(3)
    frame = a_frame().assign(y=rng.choice(["no", "yes"], ROWS))
    ctx, matrix, encoder = transformed(tmp_path, frame, transform={"numeric": {"scale": scale}})
    train = matrix.where("train")
    assert 0.4 < roc_auc_score(matrix.y[train], says(matrix, "train")) < 0.6
    seen = encoder.transform(rows_of(ctx, matrix, "train"))[:, matrix.feature_names.index("note.says")]
    assert roc_auc_score(matrix.y[train], seen) > 0.8


def test_equal_texts_are_scored_together_by_a_model_that_has_seen_none_of_them(tmp_path: Path):
    half = a_frame().assign(y=np.random.default_rng(3).choice(["no", "yes"], ROWS))
    twice = pd.concat([half, half]).assign(x=np.arange(2 * ROWS))
    ctx, matrix, _ = transformed(tmp_path, twice)
    found = rows_of(ctx, matrix, "train").assign(says=says(matrix, "train"))
    assert len(found) > found["note"].nunique()
    assert found.groupby("note")["says"].nunique().max() == 1
    assert 0.4 < roc_auc_score(matrix.y[matrix.where("train")], found["says"]) < 0.6


def test_a_number_to_predict_has_one_score(tmp_path: Path):
    y = np.random.default_rng(1).normal(size=ROWS)
    frame = pd.DataFrame({"note": notes(y), "y": 1e6 + 1e3 * y})
    _, matrix, _ = transformed(tmp_path, frame)
    for part in ("train", "test"):
        assert np.corrcoef(says(matrix, part), matrix.y[matrix.where(part)])[0, 1] > 0.7


def test_each_of_several_classes_has_a_score(tmp_path: Path):
    y = np.random.default_rng(1).integers(0, 3, ROWS)
    subject = np.array(["shoe heel sole", "shirt sleeve collar", "hat brim felt"])[y]
    note = [f"{own} {other}" for own, other in zip(subject, notes(y), strict=True)]
    _, matrix, _ = transformed(tmp_path, pd.DataFrame({"note": note, "y": np.array(["a", "b", "c"])[y]}))
    scores = np.column_stack([says(matrix, "test", f"note.says_{one}") for one in range(3)])
    assert (scores.argmax(axis=1) == matrix.y[matrix.where("test")]).mean() > 0.95


def test_very_many_classes_have_no_scores(tmp_path: Path):
    frame = a_frame().assign(y=[f"class {row % 11}" for row in range(ROWS)])
    _, matrix, _ = transformed(tmp_path, frame)
    assert not any("says" in name for name in matrix.feature_names)


@pytest.mark.parametrize(
    ("way", "expected"),
    [({"text": {"scores": False}}, {"more.says"}), ({"columns": {"more": {"scores": False}}}, {"note.says"})],
)
def test_scores_can_be_left_out(way: dict[str, Any], expected: set[str], tmp_path: Path):
    way = {"columns": {"more": {"scores": True}}, **way}
    frame = a_frame()
    types = {"note": "text", "more": "text"}
    _, matrix, encoder = transformed(
        tmp_path, frame.assign(more=frame["note"]), transform=way, data={"features": {"types": types}}
    )
    assert {name for name in matrix.feature_names if "says" in name} == expected
    assert len(encoder.lineage) == len(encoder.feature_names)


@pytest.mark.parametrize("way", [{}, {"numeric": {"impute": "median", "scale": "standard"}}])
def test_serving_scores_one_row_as_the_whole_part_and_the_bytes_stay_the_same(way: dict[str, Any], tmp_path: Path):
    (tmp_path / "again").mkdir()
    ctx, matrix, encoder = transformed(tmp_path, a_frame(), transform=way)
    again, _, _ = transformed(tmp_path / "again", a_frame(), transform=way)
    for name in ("encoder", "matrix"):
        assert ctx.workspace.get(name).read_bytes() == again.workspace.get(name).read_bytes()
    rows, expected = rows_of(ctx, matrix, "test"), matrix.x[matrix.where("test")]
    np.testing.assert_array_equal(encoder.transform(rows), expected)
    alone = np.vstack([encoder.transform(rows.iloc[[place]]) for place in range(20)])
    np.testing.assert_array_equal(alone, expected[:20])
    if way:
        assert (says(matrix, "train").mean(), says(matrix, "train").std()) == pytest.approx((0.0, 1.0), abs=1e-9)


def test_missing_texts_have_the_same_number_everywhere(tmp_path: Path):
    frame = a_frame()
    frame["note"] = frame["note"].where(np.arange(ROWS) % 4 != 0)
    frame.loc[1, "note"] = "?!"
    ctx, matrix, encoder = transformed(tmp_path, frame)
    place = matrix.feature_names.index("note.says")
    expected = encoder.transform(pd.DataFrame({"note": [None, "", "never seen"]}))[:, place]
    found = [says(matrix, part)[rows_of(ctx, matrix, part)["note"].isna().to_numpy()] for part in ("train", "test")]
    assert len(np.unique(np.concatenate([expected, *found]))) == 1


def test_texts_beyond_those_that_are_drawn_are_left_to_the_whole_model():
    y = np.random.default_rng(1).choice([-1, 1], ROWS)
    drawn = texts.draw(pd.Series(notes(y), dtype="str"), "text", most=300, seed=0)
    _, crossed = saying.learn(drawn, np.where(y > 0, 1.0, 0.0), classes=2, seed=0)
    assert crossed.shape == (ROWS, 1)
    assert (~np.isnan(crossed)).sum() == 300
    np.testing.assert_array_equal(np.isnan(crossed[:, 0]), drawn.rows < 0)


def test_long_texts_without_words_are_bounded_beyond_those_that_directions_need():
    digits = pd.Series(np.random.default_rng(0).integers(10**17, 10**18, 14_000).astype(str))
    drawn = texts.draw((digits * 9).astype("str"), "text", most=14_000, seed=0)
    assert not drawn.by_words
    assert drawn.directing.sum() == 10_000 < drawn.counts.shape[0] < 2**21 / 160
    assert len(np.unique(drawn.rows)) == drawn.counts.shape[0] + 1


def nothing_to_learn() -> dict[str, tuple[list[Any], npt.NDArray[np.float64], int]]:
    y = np.random.default_rng(1).choice([-1.0, 1.0], ROWS)
    words, rare = notes(y), (np.arange(ROWS) == 7).astype(np.float64)
    return {
        "one class": (words, np.zeros(ROWS), 1), "two classes, one there": (words, np.ones(ROWS), 2),
        "a class in one row": (words, rare, 2), "a constant": (words, np.full(ROWS, 0.1), 0),
        "no words": ([None, "", "!", "?"] * (ROWS // 4), (y > 0) * 1.0, 2), "no texts": ([None] * ROWS, y, 0),
        "the same text": (["a text as long as all others are"] * ROWS, y, 0),
        "texts that are names": (words[:100] * (ROWS // 100), y, 0),
        "numbers too large": (words, y * 1e308, 0), "few texts": ([*words[:9], *[None] * (ROWS - 9)], y, 0),
    }  # fmt: skip


@pytest.mark.parametrize("case", nothing_to_learn())
def test_where_nothing_can_be_learned_every_score_is_zero(case: str):
    words, y, classes = nothing_to_learn()[case]
    drawn = texts.draw(pd.Series(words, dtype="str"), "text", most=10_000, seed=0)
    state, crossed = saying.learn(drawn, y, classes=classes, seed=0)
    assert not np.nan_to_num(crossed).any()
    assert not scores(drawn.counts, state).any()


def test_a_class_in_too_few_texts_has_zeros_beside_the_others():
    y = np.random.default_rng(1).choice([0, 1], ROWS)
    words = notes(y)
    y[:5] = 2
    drawn = texts.draw(pd.Series(words, dtype="str"), "text", most=10_000, seed=0)
    _, crossed = saying.learn(drawn, y.astype(np.float64), classes=3, seed=0)
    assert crossed[:, :2].any(axis=0).all()
    assert not crossed[:, 2].any()
