"""Column names of any kind go through SQL, expressions, training, the bundle and its signature unchanged."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from tests.learning import chain, make_context
from trainhouse_loader.archive import unpack
from trainhouse_loader.bundle import open_bundle
from workers.stages import evaluate, gate, ingest, register, split, train, transform, tune, validate

STAGES = (
    ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run),
    ("train", train.run), ("tune", tune.run), ("evaluate", evaluate.run), ("gate", gate.run), ("register", register.run),
)  # fmt: skip
NAMES = [
    " spaced out ", "emoji 🚀", '[]{}":,', "line\nbreak", "tab\there", "x" * 512, "select", "rowid", "a.b", "été", "it's", "100%",
    "..", "../x", "=cmd()", "·0", "rows", "名前", "x-y", "{}", "\\", "a/b~c", "None", "0",
]  # fmt: skip


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def strange_table(target: str) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({name: rng.normal(size=160) for name in NAMES})
    frame['a kind: "quoted"'] = np.array(["one", "two", "three"])[rng.integers(0, 3, 160)]
    frame[target] = np.where(frame[NAMES[0]] * 2 + frame[NAMES[2]] + rng.normal(size=160) > 0, 'yes, "it" is', "no\n")
    return frame


@pytest.mark.parametrize("algorithm", ["lightgbm", "linear"])
def test_names_of_any_kind_survive_from_the_file_to_the_signature(tmp_path, algorithm):
    target = 'the "target" 🎯'
    made = {"new\n" + name[:20]: f"{quoted(name)} * 2 + {quoted(other)}" for name, other in itertools.pairwise(NAMES)}
    chosen = ", ".join(quoted(name) for name in [*NAMES, 'a kind: "quoted"', target])
    spec = {
        "task": {"target": target}, "data": {"features": {"sql": f"select {chosen} from main", "columns": made}},
        "training": {"algorithm": algorithm}, "transform": {"columns": {NAMES[2]: {"scale": "standard"}}},
        "validation": {"leakage": {"action": "ignore"}},
    }  # fmt: skip
    table = strange_table(target)
    ctx, outcomes = chain(make_context(tmp_path, spec, table=table), *STAGES)
    bundle = ctx.workspace.fetch(outcomes["register"].bundle)
    files = unpack(bundle)
    inputs = [each["name"] for each in json.loads(files["signature.json"])["inputs"]]
    assert inputs == [*NAMES, 'a kind: "quoted"']
    assert set(json.loads(files["metadata.json"])["lineage"]) == {*inputs, *made}
    found = open_bundle(bundle).predict(table[inputs])
    evaluated = pd.read_parquet(ctx.workspace.get("predictions_test"))
    assert list(found.columns) == ["prediction", "probability:no\n", 'probability:yes, "it" is']
    rows = found.iloc[evaluated["row"]].reset_index(drop=True)
    assert rows["prediction"].tolist() == evaluated["prediction"].tolist()
    assert np.allclose(rows.iloc[:, 1], evaluated[rows.columns[1]], rtol=1e-12, atol=1e-12)
