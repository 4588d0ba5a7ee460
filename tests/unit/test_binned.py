"""What libraries make of a matrix is kept for the next fit, binned sets between processes too, and changes no model."""

import gc
from dataclasses import replace

import numpy as np
import pytest

from tests.modelling import matrix
from trainhouse_loader.models.design import Design
from trainhouse_loader.models.ordering import Reading
from workers.fitting.folds import divided
from workers.trainers import TRAINERS, binned, catboost, growing, linear, xgboost
from workers.trainers.contract import Company, Fold, Recipe


@pytest.fixture
def folder(tmp_path):
    binned.keep_in(tmp_path / "bins", 10**9)
    yield tmp_path / "bins"
    binned.keep_in(None)
    binned._IN_PROCESS._kept.clear()


def model_of(tmp_path, data, fold=None, **recipe):
    recipe = {"seed": 7, "max_iterations": 20, "deterministic": True, **recipe}
    fitted = TRAINERS["lightgbm"].fit(data, fold or Fold.of_parts(data), Recipe(**recipe), Company())
    fitted.save(tmp_path / "model")
    return (tmp_path / "model").read_bytes()


def another_process():
    binned._IN_PROCESS._kept.clear()


def with_codes(**changes):
    data = matrix("binary", rows=800, **changes)
    x = data.x.copy()
    x[:, 4] = abs(x[:, 4] * 3) // 1
    x[::7, 2] = float("nan")
    return replace(data, x=x, categorical=(4,), weight=x[:, 4] + 1)


@pytest.mark.parametrize("weighted", ["balanced", None])
def test_the_trees_of_a_data_set_from_the_folder_are_those_of_a_fresh_one(folder, tmp_path, weighted):
    data = with_codes()
    binned.keep_in(None)
    fresh = model_of(tmp_path, data, class_weight=weighted)
    binned.keep_in(folder, 10**9)
    another_process()
    model_of(tmp_path, data, class_weight=weighted)
    another_process()
    before = sorted(folder.rglob("*.bin"))
    assert model_of(tmp_path, with_codes(), class_weight=weighted) == fresh
    assert sorted(folder.rglob("*.bin")) == before
    assert len(before) == 2


def test_another_matrix_weight_fold_or_binning_is_another_data_set(folder, tmp_path):
    data = with_codes()
    model_of(tmp_path, data)
    model_of(tmp_path, with_codes(seed=1))
    model_of(tmp_path, data, class_weight="balanced")
    model_of(tmp_path, data, params={"max_bin": 63})
    model_of(tmp_path, data, Fold(name="whole", train=Fold.of_parts(data).train, validation=None))
    model_of(tmp_path, data, params={"num_leaves": 7, "learning_rate": 0.3})
    assert len(list(folder.iterdir())) == 5


def test_a_fold_of_the_same_name_with_other_rows_is_another_data_set(folder, tmp_path):
    data = with_codes()
    torn = [replace(data, block=block) for block in (None, np.arange(800) // 40)]
    one, other = (divided(each, 5, seed=1)[0] for each in torn)
    assert one.name == other.name
    assert torn[0].key == torn[1].key
    models = []
    for shared in (folder, None):
        binned.keep_in(shared, 10**9)
        another_process()
        model_of(tmp_path, torn[0], one)
        another_process()
        models.append(model_of(tmp_path, torn[1], other))
    assert models[0] == models[1]


@pytest.mark.parametrize("name", ["train.bin", "validation.bin", "about.json"])
def test_a_damaged_file_is_made_anew(folder, tmp_path, name):
    data = with_codes()
    whole = model_of(tmp_path, data)
    another_process()
    [file] = folder.rglob(name)
    file.write_bytes(file.read_bytes()[:-9] + b"something")
    assert model_of(tmp_path, data) == whole
    another_process()
    assert b"something" not in file.read_bytes()
    assert model_of(tmp_path, data) == whole


def test_a_folder_that_cannot_be_written_is_done_without(folder, tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(binned, "_sum", full)
    model_of(tmp_path, with_codes())
    assert list(folder.iterdir()) == []


def test_the_least_recently_used_go_first(folder, tmp_path):
    for seed in range(3):
        model_of(tmp_path, with_codes(seed=seed))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) // 3
    first, *_ = sorted(folder.iterdir(), key=lambda place: place.stat().st_mtime_ns)
    binned.keep_in(folder, int(2.5 * size))
    another_process()
    model_of(tmp_path, with_codes(seed=0))
    assert first.exists()
    model_of(tmp_path, with_codes(seed=3))
    assert len(list(folder.iterdir())) == 2
    assert first.exists()


def test_the_key_of_a_matrix_is_its_content(tmp_path):
    data = with_codes()
    assert data.key == with_codes().key
    changed = data.x.copy()
    changed[-1, -1] += 1e-12
    others = [
        replace(data, x=changed),
        replace(data, y=1 - data.y),
        replace(data, weight=None),
        replace(data, categorical=()),
    ]
    assert len({data.key, *(other.key for other in others)}) == 5


KEPT = {
    "lightgbm": binned._IN_PROCESS, "xgboost": xgboost._QUANTISED, "catboost": catboost._POOLS, "linear": linear._READ,
    "random_forest": growing._READ, "extra_trees": growing._READ,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(KEPT))
def test_what_was_made_of_a_matrix_goes_with_it(name):
    kept = KEPT[name]
    gc.collect()  # what other tests left
    before = len(kept)
    data = with_codes()
    TRAINERS[name].fit(data, Fold.of_parts(data), Recipe(max_iterations=2), Company())
    assert len(kept) == before + 1
    del data
    gc.collect()
    assert len(kept) == before


@pytest.fixture
def learned(monkeypatch):
    """How often a matrix was read for linear models and for forests."""
    seen = []
    for kind, owner in (("design", Design), ("reading", Reading)):
        learn = owner.learn

        def counted(*given, kind=kind, learn=learn):
            seen.append(kind)
            return learn(*given)

        monkeypatch.setattr(owner, "learn", counted)
    return seen


FORESTS = ("random_forest", "extra_trees")


@pytest.mark.parametrize(("names", "kind"), [(("linear",), "design"), (FORESTS, "reading")])
def test_fits_of_one_fold_read_the_matrix_once_and_are_what_they_are_alone(tmp_path, learned, names, kind):
    data, recipe = with_codes(), {"seed": 7, "max_iterations": 6, "deterministic": True}

    def model(name, fold, **changes):
        own = TRAINERS[name].fit(data, fold, Recipe(**recipe, **changes), Company())
        own.save(tmp_path / "model")
        return (tmp_path / "model").read_bytes()

    fits = [
        (name, fold, {"params": params})
        for fold in (Fold.of_parts(data), *divided(data, 2, seed=1))
        for name in names
        for params in ({}, {"C": 0.1} if name == "linear" else {"max_features": 0.9})
    ]
    together = [model(name, fold, **changes) for name, fold, changes in fits]
    assert learned == [kind] * 3
    for (name, fold, changes), found in zip(fits, together, strict=True):
        KEPT[name]._kept.clear()
        assert model(name, fold, **changes) == found


@pytest.mark.parametrize("changes", [{"class_weight": "balanced"}, {"objective": "poisson"}])
def test_a_forest_that_weighs_or_means_otherwise_orders_categories_anew(learned, changes):
    data = with_codes()
    if "objective" in changes:
        data = replace(data, task="regression", classes=(), y=data.x[:, 4] + data.y)
    for recipe in (Recipe(max_iterations=2), Recipe(max_iterations=2, **changes)):
        TRAINERS["extra_trees"].fit(data, Fold.of_parts(data), recipe, Company())
    assert learned == ["reading"] * 2


@pytest.mark.parametrize("name", ["linear", "random_forest"])
def test_what_takes_too_much_memory_is_not_kept(name, learned, monkeypatch):
    kept, data = KEPT[name], with_codes()
    kept._kept.clear()
    monkeypatch.setattr(kept, "most_cells", 100)
    for _ in range(2):
        TRAINERS[name].fit(data, Fold.of_parts(data), Recipe(max_iterations=2), Company())
    assert (len(kept), len(learned)) == (0, 2)
    monkeypatch.setattr(kept, "most_cells", 12_000)
    for fold in divided(data, 3, seed=1):
        TRAINERS[name].fit(data, fold, Recipe(max_iterations=2), Company())
    assert 0 < len(kept) < 3
