"""A bundle opens where nothing of the service is: with the loader alone, with MLflow, and with ONNX Runtime alone."""

import json
import os
import pickle
import pickletools
import random
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from picklescan.scanner import scan_directory_path

from app.errors import DigestMismatch
from app.storage import file_digest
from tests.learning import chain, make_context
from trainhouse_loader import open_bundle
from workers.exporting import export
from workers.stages import evaluate, gate, ingest, register, split, train, transform, tune, validate

HERE = Path(__file__).parent
ENVIRONMENTS = Path(os.environ.get("BUNDLE_ENVIRONMENTS", HERE.parents[1] / ".venv-bundles"))
STAGES = (
    ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run),
    ("train", train.run), ("tune", tune.run), ("evaluate", evaluate.run), ("gate", gate.run),
)  # fmt: skip
ALGORITHMS = ("lightgbm", "xgboost", "linear", "extra_trees")
TARGETS = {"binary": "late", "multiclass": "kind", "regression": "minutes"}
MADE = [(algorithm, task) for algorithm in ALGORITHMS for task in TARGETS]
WAYS = ("slim", "mlflow", "onnx")


def flights(rows: int = 900) -> pd.DataFrame:
    """Numbers with gaps, categories, truths and times, and something to learn from them."""
    rng = np.random.default_rng(11)
    frame = pd.DataFrame({
        "distance": rng.gamma(2.0, 400.0, rows).round(1), "seats": rng.integers(50, 400, rows),
        "carrier": rng.choice(["AA", "UA", "été", "B6 \N{SNOWMAN}"], rows, p=[0.5, 0.3, 0.15, 0.05]),
        "gate": rng.integers(1, 30, rows), "wet": rng.random(rows) > 0.7,
        "at": pd.Timestamp("2013-01-01") + pd.to_timedelta(rng.integers(0, 3 * 10**7, rows), unit="s"),
    })  # fmt: skip
    minutes = 0.01 * frame["distance"] + 8.0 * frame["wet"] + 3.0 * (frame["carrier"] == "UA") + rng.normal(size=rows)
    for place, name in enumerate(frame.columns):
        frame[name] = frame[name].astype(object).where(np.arange(rows) % 23 != place)
    kinds = np.array(["early", "due", "late"])
    return frame.infer_objects().assign(
        minutes=minutes, late=np.where(minutes > 12, "yes", "no"), kind=kinds[np.digitize(minutes, [8, 13])]
    )


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """A folder with a bundle for each algorithm and task, its rows, and what training predicted for them."""
    whole = tmp_path_factory.mktemp("bundles")
    for algorithm, task in MADE:
        folder = whole / f"{algorithm}-{task}"
        folder.mkdir()
        others = [name for name in TARGETS.values() if name != TARGETS[task]]
        made = make_context(
            tmp_path_factory.mktemp("job"),
            {"task": {"target": TARGETS[task], "type": task}, "training": {"algorithm": algorithm},
             "data": {"features": {"exclude": others, "types": {"gate": "categorical"},
                                   "columns": {"per_seat": "distance / seats"}}},
             "registration": {"exports": ["onnx"]}, "reproducibility": {"mode": "deterministic"}},
            table=flights(),
        )  # fmt: skip
        ctx, _ = chain(made, *STAGES)
        bundle = ctx.workspace.fetch(register.run(ctx).bundle)
        (folder / "bundle.zip").write_bytes(bundle.read_bytes())
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(folder / "unpacked")
        evaluated = pd.read_parquet(ctx.workspace.get("predictions_test"))
        rows = flights().iloc[evaluated["row"]].drop(columns=list(TARGETS.values()))
        rows.to_parquet(folder / "rows.parquet")
        evaluated.to_parquet(folder / "expected.parquet")
        opened = open_bundle(bundle)
        session = export.session(folder / "unpacked" / "model.onnx")
        inputs = json.loads(session.get_modelmeta().custom_metadata_map[export.FACT])
        feeds = export.feeds(opened.features(rows), inputs)
        (folder / "rows.json").write_text(json.dumps({
            name: {"values": values.tolist(), "kind": str(values.dtype)} for name, values in feeds.items()
        }))  # fmt: skip
    return whole


@pytest.fixture(scope="session", params=WAYS)
def answered(request, bundles, tmp_path_factory):
    """(how it was opened, the folder): after a clean environment has answered for all bundles."""
    python = ENVIRONMENTS / request.param / "bin" / "python"
    assert python.exists(), "make test-bundles makes the environments"
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HOME": str(tmp_path_factory.mktemp("home")),
                   "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}  # fmt: skip
    ran = subprocess.run(
        [python, "-I", HERE / "opening.py", request.param, bundles], cwd="/", env=environment, capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    return request.param, bundles


@pytest.mark.parametrize(("algorithm", "task"), MADE)
def test_it_predicts_there_what_training_predicted(answered, algorithm, task):
    how, bundles = answered
    folder = bundles / f"{algorithm}-{task}"
    expected, found = pd.read_parquet(folder / "expected.parquet"), json.loads((folder / f"{how}.json").read_text())
    numbers = [name for name in expected.columns if name.startswith("probability:")] or ["prediction"]
    if how == "onnx":
        classes = json.loads((folder / "unpacked" / "metadata.json").read_text())["classes"]
        columns = np.array(found["probabilities"] if classes else found["prediction"]).reshape(len(expected), -1)
        wanted = expected[[f"probability:{name}" for name in classes] or ["prediction"]].to_numpy()
        assert (np.abs(columns - wanted) / np.maximum(1.0, np.abs(wanted))).max() <= 1e-5
    else:
        for name in numbers:
            assert found[name] == expected[name].tolist(), "bit for bit"
    if task != "regression":
        assert found["prediction"] == expected["prediction"].tolist()


@pytest.mark.parametrize(("algorithm", "task"), MADE)
def test_no_file_is_a_pickle(bundles, algorithm, task):
    folder = bundles / f"{algorithm}-{task}" / "unpacked"
    scanned = scan_directory_path(str(folder))
    assert (scanned.infected_files, scanned.globals) == (0, [])
    for path in folder.iterdir():
        for name, content in parts(path.name, path.read_bytes()):
            assert not is_pickle(content), name


def parts(name: str, content: bytes):
    """A file, and the files within, however deep, where it is a zip."""
    yield name, content
    if zipfile.is_zipfile(BytesIO(content)):
        with zipfile.ZipFile(BytesIO(content)) as archive:
            for inner in archive.namelist():
                yield from parts(f"{name}/{inner}", archive.read(inner))


def is_pickle(content: bytes) -> bool:
    """Whether Python would read it as a pickle to its end, from its first byte or after NumPy's header."""
    starts = [0, *([10 + int.from_bytes(content[8:10], "little")] if content.startswith(b"\x93NUMPY") else [])]
    for start in starts:
        try:
            steps = [step.name for step, _, _ in pickletools.genops(content[start:])]
        except Exception:  # noqa: BLE001  # no pickle
            continue
        if len(steps) > 1:
            return True
    return False


def test_the_scanner_knows_a_pickle():
    assert is_pickle(pickle.dumps({"a": [1, 2]}))
    held = BytesIO()
    np.save(held, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert is_pickle(held.getvalue())


@pytest.mark.parametrize(("algorithm", "task"), MADE)
def test_the_onnx_form_is_one_file_that_names_no_other(bundles, algorithm, task):
    graph = onnx.load(bundles / f"{algorithm}-{task}" / "unpacked" / "model.onnx", load_external_data=False).graph
    assert not any(each.external_data for each in graph.initializer)
    kinds = {each.op_type for each in graph.node}
    assert not kinds & {"If", "Loop", "Scan"}


@pytest.mark.parametrize(("algorithm", "task"), MADE)
def test_one_flipped_byte_anywhere_is_refused(bundles, tmp_path, algorithm, task):
    folder = bundles / f"{algorithm}-{task}"
    whole, random_place = (folder / "bundle.zip").read_bytes(), random.Random(algorithm + task)
    ends = [*range(64), *range(len(whole) - 64, len(whole))]
    for place in (*ends, *random_place.sample(range(len(whole)), 60)):
        changed = bytearray(whole)
        changed[place] ^= 1 << random_place.randrange(8)
        (tmp_path / "bundle.zip").write_bytes(changed)
        with pytest.raises(DigestMismatch):
            open_bundle(tmp_path / "bundle.zip")


@pytest.mark.parametrize(("algorithm", "task"), [("lightgbm", "binary"), ("extra_trees", "multiclass")])
def test_a_folder_with_a_flipped_byte_or_a_stray_file_is_refused(bundles, tmp_path, algorithm, task):
    given = bundles / f"{algorithm}-{task}" / "unpacked"
    files = {path.name: path.read_bytes() for path in given.iterdir()}
    for name, content in files.items():
        folder = tmp_path / name
        folder.mkdir()
        for other, own in files.items():
            (folder / other).write_bytes(own)
        open_bundle(folder)
        (folder / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(DigestMismatch):
            open_bundle(folder)
        (folder / name).unlink()
        with pytest.raises(DigestMismatch):
            open_bundle(folder)
        (folder / name).write_bytes(content)
        (folder / "__pycache__").mkdir()
        with pytest.raises(DigestMismatch):
            open_bundle(folder)


def test_a_folder_that_mlflow_took_from_its_registry_still_opens(bundles, tmp_path):
    for path in (bundles / "linear-binary" / "unpacked").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "registered_model_meta").write_text("model_name: m\nmodel_version: '3'\n")
    assert open_bundle(tmp_path).metadata["task"] == "binary"


def test_another_bundle_than_the_registered_one_is_refused(bundles):
    path = bundles / "linear-binary" / "bundle.zip"
    digest = file_digest(path)
    assert open_bundle(path, digest=digest).metadata["task"] == "binary"
    assert open_bundle(path.with_name("unpacked"), digest=digest).metadata["task"] == "binary"
    with pytest.raises(DigestMismatch, match="not the one"):
        open_bundle(bundles / "linear-regression" / "bundle.zip", digest=digest)
