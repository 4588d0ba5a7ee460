"""Register: packs the chosen model into a bundle, proves it in a fresh process, and hands it to the registry."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app import cards
from app.errors import ParityFailed
from trainhouse_loader.answers import columns_of
from trainhouse_loader.archive import FORMAT, canonical_json, pack
from trainhouse_loader.bundle import COLUMNS, ENCODER, EXAMPLE, METADATA, derivation_of, inputs_of
from trainhouse_loader.derived import columns as derived
from trainhouse_loader.encoding.encoder import Encoder
from trainhouse_loader.encoding.encoder import load as load_encoder
from trainhouse_loader.models import ensemble
from trainhouse_loader.models.ensemble import Packed
from trainhouse_loader.models.finish import Finish
from trainhouse_loader.reading import coerce
from workers.bundles import card, golden, mlmodel
from workers.bundles.golden import Golden
from workers.context import Context, Registered
from workers.reuse import code_digest
from workers.table import columns, snapshot
from workers.threads import limited

Floats = npt.NDArray[np.float64]

EXAMPLE_ROWS = 3
EVALUATED_TOLERANCE = 1e-6
"""The evaluation encoded all rows at once; text embeddings may differ in the last bits for a few rows."""
EXPORTED_TOLERANCE = 1e-5
"""Sums of an ONNX graph may be of fewer bits or in another order."""


def run(ctx: Context) -> Registered:
    """Puts `bundle`, a zip that a fresh process has opened and predicted with.

    Raises:
        ParityFailed: the bundle predicts other than the model and encoder that were trained.
        DeadlineExceeded: the job's time was over before the proof was made.
    """
    encoder = load_encoder(ctx.workspace.get("encoder"))
    document = columns_of_bundle(ctx, encoder.input_columns)
    derivation = derivation_of(document)
    rows = golden.gather(
        ctx.workspace.get("snapshot"), ctx.workspace.get("predictions_test"),
        inputs=inputs_of(encoder.input_columns, derivation), features=encoder.input_columns,
    )  # fmt: skip
    path = ctx.workspace.scratch / "bundle.zip"
    files = bundle_files(ctx, encoder, rows, document)
    libraries, manifest = json.loads(files[METADATA])["libraries"], pack(files, path)
    del files  # it holds the whole model
    ctx.progress(0, 1)
    strange = snapshot.frame(rows.strange)
    expected = [snapshot.frame(rows.trained), derivation.extend(strange) if derivation else strange]
    encoded = [encoder.transform(coerce.read(frame, document["readings"])) for frame in expected]
    prove(ctx, path, rows, expected=encoded, exported="onnx" in ctx.spec.registration.exports)
    blob = ctx.workspace.put("bundle", path, "application/zip")
    summary = {
        "bundle_digest": blob.digest, "bundle_bytes": blob.size_bytes, "files": len(manifest["files"]) + 1,
        "parity_rows": rows.known.num_rows + rows.strange.num_rows,
    }  # fmt: skip
    made_by = {"code": code_digest(), "libraries": libraries}
    return Registered(summary=summary, output=summary, bundle=blob, manifest=manifest, made_by=made_by)


def columns_of_bundle(ctx: Context, input_columns: Sequence[str]) -> dict[str, Any]:
    """`columns.json`: the derived columns that the encoder needs, what they are made of, and how values are read."""
    document: dict[str, Any] = {"version": 1, "columns": [], "inputs": []}
    if ctx.spec.data.features.columns:
        made = json.loads(ctx.workspace.get("columns").read_text(encoding="utf-8"))
        document = derived.part_of(made, input_columns)
    readings = ctx.outputs["validate"].get("readings", {})
    return {**document, "readings": {name: readings[name] for name in input_columns if name in readings}}


def prove(ctx: Context, path: Path, rows: Golden, *, expected: Sequence[Floats], exported: bool) -> None:
    """Nothing, where a fresh process predicts with the bundle at `path` what training and evaluation predicted.

    `expected` are the known and the strange rows as the encoder gave them here; where the bundle was `exported`, its
    ONNX form must predict the same.

    Raises:
        ParityFailed, DeadlineExceeded: see `run`.
    """
    predicted, tolerance = predicted_here(ctx, expected)
    answered, of_onnx = golden.ask(
        path, rows, scratch=ctx.workspace.scratch, deadline=ctx.deadline, export=exported
    )  # fmt: skip
    golden.compare(predicted, answered, tolerance=tolerance)
    if of_onnx is not None:
        # Leaves are added to a base in 32 bits, so that a small answer errs as much as a large one.
        scale = max(1.0, float(np.abs(predicted).max(initial=0.0)))
        golden.compare(
            predicted, of_onnx, tolerance=EXPORTED_TOLERANCE, scale=scale, of="The predictions of the ONNX form"
        )
    validated = ctx.outputs["validate"]
    known = columns_of(
        validated["task_type"], validated["classes"], answered[: rows.known.num_rows],
        threshold=ctx.outputs["evaluate"]["threshold"],
    )  # fmt: skip
    for name, values in known.items():
        if values.dtype == np.float64:
            evaluated = rows.evaluated[name].to_numpy(np.float64)
            golden.compare(evaluated, values, tolerance=EVALUATED_TOLERANCE)
        elif list(values) != list(rows.evaluated[name]):
            raise ParityFailed(f"The bundle's column {name} is not what the evaluation said.")


def predicted_here(ctx: Context, blocks: Sequence[Floats]) -> tuple[Floats, float]:
    """(what the model says of `blocks`, by how much another process may differ); the model is let go again."""
    fitted = ensemble.load(ctx.workspace.get("model"))
    with limited(1):
        return np.concatenate([fitted.predict(block) for block in blocks]), fitted.tolerance


def bundle_files(ctx: Context, encoder: Encoder, rows: Golden, document: dict[str, Any]) -> dict[str, bytes]:
    """The files of the bundle; none holds a time, a host, or a job's name, so equal models give equal bytes."""
    members = ensemble.read(ctx.workspace.get("model"))
    written = ctx.workspace.get("encoder").read_bytes()
    # What is said of the run, not of the model, would make equal models differ.
    spec = {
        name: part for name, part in ctx.spec.resolved().items() if name not in {"resources", "labels", "deployment"}
    }
    metadata = metadata_of(ctx, spec=spec, members=members, encoder=written, features=rows.trained.column_names)
    signature = signature_of(ctx, metadata, rows.known.schema)
    told_of = card.card_of(metadata, inputs=signature["inputs"], description=ctx.spec.registration.description)
    told = {COLUMNS: canonical_json(document)} if document["columns"] or document["readings"] else {}
    return {
        **told,
        **{said["file"]: member.content for said, member in zip(metadata["members"], members, strict=True)},
        ENCODER: written,
        "spec.json": canonical_json(spec),
        METADATA: canonical_json(metadata),
        "signature.json": canonical_json(signature),
        EXAMPLE: canonical_json(_example(rows)),
        mlmodel.FILE: canonical_json(mlmodel.document(metadata, signature)),
        **exports_of(ctx, encoder, metadata),
        "MODEL_CARD.md": cards.markdown(told_of).encode(),
        "MODEL_CARD.html": cards.page(told_of).encode(),
        "requirements.txt": card.requirements(metadata["libraries"]).encode(),
    }  # fmt: skip


def exports_of(ctx: Context, encoder: Encoder, metadata: dict[str, Any]) -> dict[str, bytes]:
    """`model.onnx`, where the spec asks for it.

    Raises:
        MachineError: `export_too_large`.
    """
    if "onnx" not in ctx.spec.registration.exports:
        return {}
    from workers.exporting import export  # noqa: PLC0415  # an extra

    model = ensemble.load(ctx.workspace.get("model"))
    return {export.FILE: export.exported(encoder, model, classes=metadata["classes"])}


def metadata_of(
    ctx: Context, *, spec: dict[str, Any], members: Sequence[Packed], encoder: bytes, features: Sequence[str]
) -> dict[str, Any]:
    """`metadata.json`: what the model is, where it comes from, and how it was measured."""
    validated, evaluated = ctx.outputs["validate"], ctx.outputs["evaluate"]
    files = ensemble.names_of(members)
    told = [{**member.document(), "file": file} for member, file in zip(members, files, strict=True)]
    algorithms = sorted({member.algorithm for member in members})
    finish = ensemble.finish_of(ctx.workspace.get("model"))
    finished = {} if finish == Finish() else {"finish": finish.document()}
    alike = all((each.algorithm, each.params) == (members[0].algorithm, members[0].params) for each in members)
    return {
        "format": FORMAT, "model": ctx.spec.model, "task": validated["task_type"], "target": ctx.spec.task.target,
        "classes": list(validated["classes"]), "algorithm": members[0].algorithm if alike else "ensemble",
        "params": dict(members[0].params) if alike else {}, "members": told,
        "iterations": sum(member.iterations for member in members), "seed": ctx.seed,
        "rows": evaluated["rows"],
        "metrics": {"test": evaluated["metrics"], "validation": evaluated["validation"]},
        "baseline": evaluated["baseline"], **finished,
        "libraries": card.library_versions(
            algorithms, derived=bool(ctx.spec.data.features.columns), exports=ctx.spec.registration.exports
        ),
        "lineage": _lineage(ctx, features),
        "digests": {
            "data": ctx.outputs["ingest"]["data_digest"], "spec": _digest(canonical_json(spec)),
            "model": ctx.workspace.digest("model"), "encoder": _digest(encoder),
        },
    }  # fmt: skip


def _lineage(ctx: Context, features: Sequence[str]) -> dict[str, Any]:
    """By feature, the columns of the sources that it was made of."""
    known = json.loads(ctx.workspace.get("column_lineage").read_text(encoding="utf-8"))["columns"]
    return {name: known[name] for name in features}


def signature_of(ctx: Context, metadata: dict[str, Any], inputs: pa.Schema) -> dict[str, Any]:
    """`signature.json`: raw input columns with their types, output columns with theirs."""
    features = dict(ctx.outputs["validate"]["features"])
    classes = metadata["classes"]
    outputs = [{"name": "prediction", "type": "text" if classes else "numeric"}]
    outputs += [{"name": f"probability:{name}", "type": "numeric"} for name in sorted(classes)]
    found = [{"name": field.name, "type": features.get(field.name) or columns.PLAIN.get(field.type, "text")}
             for field in inputs]  # fmt: skip
    return {"inputs": found, "outputs": outputs}


def _example(rows: Golden) -> dict[str, Any]:
    text = snapshot.frame(rows.known).head(EXAMPLE_ROWS).to_json(orient="split", index=False, date_format="iso")
    found: dict[str, Any] = json.loads(text)
    return found


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
