"""Data sets over HTTP: files are streamed in, their digest is taken on the way, and rows are made last."""

import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from python_multipart.multipart import parse_options_header
from sqlalchemy import Engine
from starlette.datastructures import FormData, UploadFile

from app.datasets import service
from app.datasets.schemas import Datasets, DatasetShown, Presigned, PresignRequest
from app.db import transaction
from app.errors import Conflict, InvalidRequest, NotFound, StoreUnavailable, Violation, bounded, step
from app.http import (
    MAX_JSON_BYTES,
    Caller,
    EarlyReader,
    EarlyTrainer,
    PageDep,
    Reader,
    SessionDep,
    SettingsDep,
    StoreDep,
    StrictRoute,
    Trainer,
    TrainOnce,
    listing,
)
from app.idempotency import Once
from app.settings import Settings
from app.storage import S3Store

ENVELOPE_BYTES = 64 * 1024
PRESIGNED_SECONDS = 3600
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1"})
"""Of the names in a form; files are taken as they are."""
UPLOAD_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                    "name": {"type": "string", "minLength": 1, "maxLength": 255},
                },
                "additionalProperties": False,
            }
        }
    },
}

router = APIRouter(prefix="/v1/datasets", route_class=StrictRoute, tags=["datasets"], max_body_size=MAX_JSON_BYTES)
uploads = APIRouter(prefix="/v1/datasets", tags=["datasets"])
"""Apart, because its bodies may be large."""


@uploads.post(
    "", status_code=201, operation_id="upload_dataset", response_model=DatasetShown,
    openapi_extra={"requestBody": UPLOAD_BODY},
)  # fmt: skip
async def upload_dataset(request: Request, caller: EarlyTrainer, store: StoreDep, settings: SettingsDep) -> Response:
    """Takes a file: csv, csv.gz, parquet, json, jsonl (ndjson) or arrow (feather), as its name's ending says."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidRequest(
            "The body must be multipart/form-data with a part `file`.", code="not_multipart",
            hint="curl -F file=@flights.csv …",
        )  # fmt: skip
    _check_charset(request.headers["content-type"])
    async with request.form(max_files=1, max_fields=1, max_part_size=1_024) as form:
        file, name = _parts(form)
        return await run_in_threadpool(
            _keep,
            request,
            caller,
            store=store,
            settings=settings,
            file=file.file,
            described=service.describe(file.filename, name),
        )


def _check_charset(content_type: str) -> None:
    """Refuses a form in a charset by which names could be made that no UTF-8 can say, or that cannot be read at all.

    Raises:
        InvalidRequest: `unknown_charset`
    """
    said = parse_options_header(content_type)[1].get(b"charset", b"utf-8").decode("latin-1")
    if said.lower() not in CHARSETS:
        raise InvalidRequest(
            f"A form in the charset {bounded(said)!r} is not read here.", code="unknown_charset",
            hint="Send it in utf-8, and leave the charset out.",
        )  # fmt: skip


def _parts(form: FormData) -> tuple[UploadFile, str | None]:
    file, name = form.get("file"), form.get("name")
    unknown = sorted(set(form) - {"file", "name"})
    faults = [Violation(bounded(step(part[:64])), "extra_forbidden", "no such part is known here") for part in unknown]
    if not isinstance(file, UploadFile):
        faults.append(Violation("/file", "missing", "a part `file` with a file name is needed"))
    if name is not None and not isinstance(name, str):
        faults.append(Violation("/name", "string_type", "must be text"))
    if faults or not isinstance(file, UploadFile) or isinstance(name, UploadFile):
        raise InvalidRequest("The form is not valid.", violations=faults)
    return file, name


def _keep(
    request: Request,
    caller: Caller,
    *,
    store: S3Store,
    settings: Settings,
    file: IO[bytes],
    described: service.Described,
) -> Response:
    with tempfile.TemporaryDirectory(prefix="trainhouse-upload-") as folder:
        local = Path(folder, "file")
        digest, size = service.copy_file(file, local, limit=settings.max_upload_bytes)
        store.put(caller.project_id, local, digest=digest)
    with transaction(request.app.state.engine) as session:
        once = Once(request, session, request.app.state.vault, project_id=caller.project_id)
        once.begin(f"{digest}\n{described.filename}\n{described.name}")
        dataset = service.add(session, caller.project_id, described, digest=digest, size_bytes=size)
        return once.answer(
            201, DatasetShown.model_validate(dataset), headers={"Location": f"/v1/datasets/{dataset.id}"}
        )


@router.post("/presign", status_code=201, operation_id="presign_dataset", response_model=Presigned)
def presign_dataset(
    wanted: PresignRequest, caller: Trainer, session: SessionDep, store: StoreDep, once: TrainOnce
) -> Response:
    """Gives a URL to which a large file can be PUT without passing through this service."""
    described = service.describe(wanted.filename, wanted.name)
    dataset = service.expect(session, caller.project_id, described)
    expires_at = datetime.now(UTC) + timedelta(seconds=PRESIGNED_SECONDS)
    url = store.presign_put(str(dataset.upload_key), seconds=PRESIGNED_SECONDS)
    made = Presigned(dataset_id=dataset.id, url=url, expires_at=expires_at)
    return once.answer(201, made, headers={"Location": f"/v1/datasets/{dataset.id}"})


@router.post("/{dataset_id}/complete", operation_id="complete_dataset")
def complete_dataset(
    dataset_id: str, request: Request, caller: EarlyTrainer, store: StoreDep, settings: SettingsDep
) -> DatasetShown:
    """Says that the file was PUT; its digest is taken now. Calling again changes nothing."""
    engine, project_id = request.app.state.engine, caller.project_id
    key = service.upload_key(project_id, dataset_id)
    shown = _ready(engine, project_id, dataset_id)
    if shown is None:
        try:
            digest, size = _adopted(store, project_id, key, limit=settings.max_upload_bytes)
        except NotFound:
            shown = _ready(engine, project_id, dataset_id)  # another call may have been quicker
            if shown is None:
                raise Conflict(
                    "No file was PUT to this data set's URL yet.", code="not_uploaded", hint="PUT it, then call again."
                ) from None
        else:
            with transaction(engine) as session:
                arrived = service.arrived(session, project_id, dataset_id, digest=digest, size_bytes=size)
                shown = DatasetShown.model_validate(arrived)
    with suppress(StoreUnavailable):
        store.discard(key)  # only now: until the row says where the bytes are, the upload may be needed again
    return shown


def _ready(engine: Engine, project_id: str, dataset_id: str) -> DatasetShown | None:
    """The data set, once its bytes are known."""
    with transaction(engine) as session:
        dataset = service.find(session, project_id, dataset_id)
        return DatasetShown.model_validate(dataset) if dataset.status == "ready" else None


def _adopted(store: S3Store, project_id: str, key: str, *, limit: int) -> tuple[str, int]:
    """(digest, bytes) of what was PUT; raises NotFound where nothing was, and what `service.check_size` says of its size."""
    if (size := store.size_of_key(key)) is None:
        raise NotFound
    try:
        service.check_size(size, limit=limit)
    except InvalidRequest:
        store.discard(key)
        raise
    return store.adopt(project_id, key)


@router.get("", operation_id="list_datasets", response_model=Datasets)
def list_datasets(caller: Reader, session: SessionDep, page: PageDep) -> dict[str, Any]:
    """The project's data sets, the newest first."""
    found = service.datasets(session, caller.project_id, after=page.after_text, limit=page.limit + 1)
    return listing([DatasetShown.model_validate(row) for row in found], limit=page.limit, key=lambda row: [row.id])


@router.get("/{dataset_id}", operation_id="get_dataset")
def get_dataset(dataset_id: str, caller: Reader, session: SessionDep) -> DatasetShown:
    """One data set."""
    return DatasetShown.model_validate(service.find(session, caller.project_id, dataset_id))


@router.get("/{dataset_id}/profile", operation_id="get_dataset_profile", response_class=Response)
def get_dataset_profile(dataset_id: str, request: Request, caller: EarlyReader, store: StoreDep) -> Response:
    """What the latest job that read this data set found in it: types, nulls, ranges, drift bins."""
    with transaction(request.app.state.engine) as session:
        digest = service.profile_digest(session, caller.project_id, dataset_id)
    with tempfile.TemporaryDirectory(prefix="trainhouse-profile-") as folder:
        local = Path(folder, "profile.json")
        store.get(caller.project_id, digest, local)
        return Response(local.read_bytes(), media_type="application/json", headers={"ETag": f'"{digest}"'})
