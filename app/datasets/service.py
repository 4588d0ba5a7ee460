"""Keeps uploaded files as content-addressed blobs, and the rows that name them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.orm import Session

from app.datasets.schemas import DatasetName, FileName
from app.errors import Conflict, InvalidRequest, NotFound, TooLarge, Violation
from app.ids import new_id
from app.spec.base import violations_of
from app.tables import Artifact, Dataset, Job

CHUNK = 1 << 20
FORMATS = {
    ".csv": "csv", ".csv.gz": "csv.gz", ".parquet": "parquet", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".arrow": "arrow", ".feather": "arrow",
}  # fmt: skip


FILE_NAME: TypeAdapter[str] = TypeAdapter(FileName)
DATASET_NAME: TypeAdapter[str] = TypeAdapter(DatasetName)


@dataclass(frozen=True)
class Described:
    """What a caller says of a file: its name, what to call the data set, and the format that follows."""

    filename: str
    name: str
    format: str


def describe(filename: str | None, name: str | None) -> Described:
    """The description of a file to be uploaded.

    Raises:
        InvalidRequest: a name is missing, hides characters or holds a path, or no format has that ending.
    """
    checked = _checked(FILE_NAME, filename or "", pointer="/file")
    called = checked if name is None else _checked(DATASET_NAME, name, pointer="/name")
    return Described(checked, called, format_of(checked))


def _checked(kind: TypeAdapter[str], value: str, *, pointer: str) -> str:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise InvalidRequest(
            f"{pointer[1:]} is not valid.", violations=violations_of(error.errors(), pointer)
        ) from None


def format_of(filename: str) -> str:
    """The format that the ending of `filename` says.

    Raises:
        InvalidRequest: none does.
    """
    lowered = filename.lower()
    for ending in sorted(FORMATS, key=len, reverse=True):
        if lowered.endswith(ending) and len(lowered) > len(ending):
            return FORMATS[ending]
    fault = Violation("/file", "unknown_format", "its ending says no format", f"Accepted: {' '.join(FORMATS)}")
    raise InvalidRequest("The file's name says no format that is read here.", code="unknown_format", violations=[fault])


def copy_file(source: IO[bytes], target: Path, *, limit: int) -> tuple[str, int]:
    """Copies `source` to `target` while hashing it; returns (digest, size in bytes).

    Raises:
        InvalidRequest: there is not one byte.
        TooLarge: there are more than `limit` bytes.
    """
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            check_size(size, limit=limit)
            digest.update(chunk)
            file.write(chunk)
    check_size(size, limit=limit)
    return f"sha256:{digest.hexdigest()}", size


def check_size(size: int, *, limit: int) -> None:
    """Refuses a file of no bytes, and one beyond `limit`.

    Raises:
        InvalidRequest: `empty_file`
        TooLarge
    """
    if size == 0:
        fault = Violation("/file", "empty_file", "the file holds no bytes")
        raise InvalidRequest("The file is empty.", code="empty_file", violations=[fault])
    if size > limit:
        raise TooLarge(f"The file has more than {limit} bytes.", hint="Upload fewer rows or columns, or compress it.")


def add(session: Session, project_id: str, described: Described, *, digest: str, size_bytes: int) -> Dataset:
    """The row of a file whose bytes are in the store."""
    return _insert(session, Dataset(
        id=new_id("ds"), project_id=project_id, name=described.name, filename=described.filename,
        format=described.format, status="ready", digest=digest, size_bytes=size_bytes,
    ))  # fmt: skip


def upload_key(project_id: str, dataset_id: str) -> str:
    """Where the store holds what a caller PUTs, until its digest is known."""
    return f"{project_id}/uploads/{dataset_id}"


def expect(session: Session, project_id: str, described: Described) -> Dataset:
    """The row of a file that the caller is going to PUT to `upload_key`."""
    dataset_id = new_id("ds")
    return _insert(session, Dataset(
        id=dataset_id, project_id=project_id, name=described.name, filename=described.filename,
        format=described.format, status="pending", upload_key=upload_key(project_id, dataset_id),
    ))  # fmt: skip


def _insert(session: Session, dataset: Dataset) -> Dataset:
    session.add(dataset)
    session.flush()
    session.refresh(dataset)
    return dataset


def arrived(session: Session, project_id: str, dataset_id: str, *, digest: str, size_bytes: int) -> Dataset:
    """Marks a pending data set as ready; a second call with the same bytes changes nothing.

    Raises:
        NotFound: the project has no such data set.
        Conflict: it is ready with other bytes.
    """
    dataset = find(session, project_id, dataset_id, lock=True)
    if dataset.status == "ready" and dataset.digest != digest:
        raise Conflict("This data set holds other bytes already.", code="dataset_ready")
    dataset.status, dataset.digest, dataset.size_bytes, dataset.upload_key = "ready", digest, size_bytes, None
    return dataset


def find(session: Session, project_id: str, dataset_id: str, *, lock: bool = False) -> Dataset:
    """The project's data set of that id.

    Raises:
        NotFound
    """
    wanted = select(Dataset).where(Dataset.project_id == project_id, Dataset.id == dataset_id)
    found = session.scalar(wanted.with_for_update() if lock else wanted)
    if found is None:
        raise NotFound("There is no such data set.")
    return found


def datasets(session: Session, project_id: str, *, after: str | None, limit: int) -> Sequence[Dataset]:
    """Up to `limit` data sets of the project, the newest first, those before the id `after`."""
    wanted = select(Dataset).where(Dataset.project_id == project_id).order_by(Dataset.id.desc()).limit(limit)
    return session.scalars(wanted.where(Dataset.id < after) if after else wanted).all()


def profile_digest(session: Session, project_id: str, dataset_id: str) -> str:
    """The digest of the profile that the latest job made of this data set.

    Raises:
        NotFound: there is no such data set, or no job has profiled it.
    """
    find(session, project_id, dataset_id)
    reads_it = func.jsonb_path_exists(
        Job.spec, cast("$.data.sources.* ? (@.dataset_id == $id)", JSONPATH), func.jsonb_build_object("id", dataset_id)
    )
    newest = (
        select(Artifact.digest)
        .join(Job, Job.id == Artifact.job_id)
        .where(Job.project_id == project_id, Artifact.name == "profile", reads_it)
        .order_by(Job.id.desc())
        .limit(1)
    )
    digest = session.scalar(newest)
    if digest is None:
        raise NotFound(
            "No job has profiled this data set yet.", code="no_profile", hint="POST a job or a plan that reads it."
        )
    return digest
