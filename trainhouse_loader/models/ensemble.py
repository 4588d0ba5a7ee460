"""A packed model: one member, or several whose weighted mean answers, in one file that equal models give equal bytes."""

import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainhouse_loader.errors import DigestMismatch
from trainhouse_loader.models import MODELS
from trainhouse_loader.models.finish import Finish
from trainhouse_loader.models.fitted import Fitted, Floats

FORMAT = "trainhouse-model-1"
ABOUT = "members.json"
EPOCH = (1980, 1, 1, 0, 0, 0)
MEDIA_TYPE = "application/zip"


@dataclass(frozen=True)
class Packed:
    """A member as bytes.

    Attributes:
        algorithm: Of which model `content` is.
        weight: Its share of the answer; the weights of a model's members add up to 1.
        params: What it was fitted with.
        iterations: See `Fitted.iterations`.
        content: What `Fitted.save` wrote.
    """

    algorithm: str
    weight: float
    params: Mapping[str, Any]
    iterations: int
    content: bytes

    def document(self) -> dict[str, Any]:
        """What is said of the member beside its bytes, as JSON."""
        return {
            "algorithm": self.algorithm, "weight": self.weight, "params": dict(self.params),
            "iterations": self.iterations,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Fitted members that answer together; one member answers exactly as it does alone.

    Attributes:
        members: Each ready to predict, in order.
        weights: The share of each in the answer.
        tolerance: The largest of the members'; see `Format.tolerance`.
        finish: What is done to their joint answers.
    """

    members: tuple[Fitted, ...]
    weights: tuple[float, ...]
    tolerance: float
    finish: Finish = field(default_factory=Finish)

    @property
    def iterations(self) -> int:
        """Those of all members together."""
        return sum(member.iterations for member in self.members)

    def predict(self, x: Floats) -> Floats:
        """See `Fitted.predict`: the weighted mean, calibrated."""
        return self.finish.calibrated(self._mean(member.predict(x) for member in self.members))

    def importances(self, x: Floats) -> Floats:
        """See `Fitted.importances`: the weighted mean."""
        return self._mean(member.importances(x) for member in self.members)

    def _mean(self, answers: Iterable[Floats]) -> Floats:
        if len(self.members) == 1:
            return next(iter(answers))
        parts = (weight * answer for weight, answer in zip(self.weights, answers, strict=True))
        total = next(parts)
        for part in parts:
            total += part
        return total


def packed(algorithm: str, params: Mapping[str, Any], fitted: Fitted, *, weight: float = 1.0) -> Packed:
    """`fitted` as a member."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODELS[algorithm].filename)
        fitted.save(path)
        return Packed(algorithm, weight, dict(params), fitted.iterations, path.read_bytes())


def names_of(members: Sequence[Packed]) -> list[str]:
    """The name of each member's file: its format's own for a single one, numbered ones for several."""
    own = [MODELS[member.algorithm].filename for member in members]
    return own if len(own) == 1 else [f"member_{place}_{name}" for place, name in enumerate(own)]


def write(members: Sequence[Packed], path: Path, *, finish: Finish | None = None) -> None:
    """Writes `members` to `path` with what is done to their answers; equal members give equal bytes."""
    about: dict[str, Any] = {"format": FORMAT, "members": [member.document() for member in members]}
    if finish is not None and finish != Finish():
        about["finish"] = finish.document()
    files = dict(zip(names_of(members), (member.content for member in members), strict=True))
    files[ABOUT] = json.dumps(about, sort_keys=True, allow_nan=False).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, files[name])


def read(path: Path) -> tuple[Packed, ...]:
    """The members that `write` wrote to `path`.

    Raises:
        DigestMismatch: the file is no packed model.
    """
    return tuple(_each(path))


def _each(path: Path) -> Iterator[Packed]:
    """See `read`; one after the other, so that the bytes of all need not be in memory."""
    with _archive(path) as (archive, about):
        empty = [Packed(**said, content=b"") for said in about["members"]]
        for member, name in zip(empty, names_of(empty), strict=True):
            yield replace(member, content=archive.read(name))


@contextmanager
def _archive(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """The file that `write` wrote to `path`, and what it says of its members.

    Raises:
        DigestMismatch: the file is no packed model.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(ABOUT))
            if about["format"] != FORMAT:
                raise DigestMismatch("The file is no packed model of this format.")
            yield archive, about
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise DigestMismatch("The file is no packed model.") from error


def size(path: Path) -> int:
    """Bytes of the models in what `write` wrote to `path`.

    Raises:
        DigestMismatch: the file is no packed model.
    """
    with _archive(path) as (archive, _about):
        return sum(entry.file_size for entry in archive.infolist() if entry.filename != ABOUT)


def finish_of(path: Path) -> Finish:
    """What is done to the answers of the model that `write` wrote to `path`.

    Raises:
        DigestMismatch: the file is no packed model.
    """
    with _archive(path) as (_archived, about):
        return Finish.of(about.get("finish"))


def opened(members: Iterable[Packed], *, threads: int = 1, finish: Finish | None = None) -> Ensemble:
    """The members, ready to predict with `threads` threads; their bytes are not kept.

    Raises:
        DigestMismatch: a member's bytes are no model of its algorithm.
    """
    found: list[Fitted] = []
    weights: list[float] = []
    tolerance = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for member in members:
            kind = MODELS[member.algorithm]
            path = Path(folder, kind.filename)
            path.write_bytes(member.content)
            found.append(kind.load(path, threads=threads))
            weights.append(member.weight)
            tolerance = max(tolerance, kind.tolerance)
    return Ensemble(members=tuple(found), weights=tuple(weights), tolerance=tolerance, finish=finish or Finish())


def load(path: Path, *, threads: int = 1) -> Ensemble:
    """The model that `write` wrote to `path`.

    Raises:
        DigestMismatch: the file is no packed model.
    """
    return opened(_each(path), threads=threads, finish=finish_of(path))
