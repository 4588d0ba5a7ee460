"""LightGBM's binned data sets, kept in this process and, by content, in a folder that the processes of a machine share."""

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import lightgbm as lgb
import numpy as np
from lightgbm.basic import LightGBMError

from workers.matrix.prepared import Prepared
from workers.trainers.contract import Fold, fold_weights, train_weights
from workers.trainers.shared import Kept

OF_BINNING = ("max_bin", "seed", "feature_pre_filter")
"""The parameters that decide where the bins are; data sets are kept apart by them."""
WITHOUT_EFFECT = ("num_threads", "verbosity", "deterministic", "force_row_wise")
"""Parameters that a data set wants to hear of, and that leave the bins as they are."""
ABOUT, TRAIN, VALIDATION = "about.json", "train.bin", "validation.bin"

Pair = tuple[lgb.Dataset, lgb.Dataset | None]


@dataclass(frozen=True)
class _Folder:
    path: Path
    limit_bytes: int


_IN_PROCESS: Kept[Pair] = Kept()
_SHARED: list[_Folder] = []
_MAKING = Lock()


def keep_in(folder: Path | None, limit_bytes: int = 0) -> None:
    """From now on this process shares data sets through `folder`, the least recently used go first; None: it does not.

    The folder holds what LightGBM reads without checking: nobody but the workers of this machine may write there.
    """
    _SHARED[:] = [] if folder is None else [_Folder(folder, limit_bytes)]


def binned(data: Prepared, fold: Fold, settings: Mapping[str, Any], class_weight: str | None) -> Pair:
    """The fold's rows as LightGBM's data sets, those that train and those of the validation, or None.

    Kept sets give the trees that fresh ones would.
    """
    chosen = {name: settings[name] for name in OF_BINNING}

    def make() -> Pair:
        with _MAKING:  # fits side by side mostly want the same, and rows are copied for it
            return made()

    def made() -> Pair:
        if not _SHARED:
            return fresh(data, fold, settings, class_weight)
        said = json.dumps([data.key, _rows(fold), class_weight, chosen, lgb.__version__])
        place = _SHARED[0].path / hashlib.sha256(said.encode()).hexdigest()
        found = _read(place, _about(data, settings), has_validation=fold.validation is not None)
        if found is None:
            found = fresh(data, fold, settings, class_weight)
            _write(found, place)
            _shrink(_SHARED[0])
        return found

    return _IN_PROCESS.get(data, (fold.name, class_weight, *chosen.values()), make)


def fresh(
    data: Prepared, fold: Fold, settings: Mapping[str, Any], class_weight: str | None, *, construct: bool = True
) -> Pair:  # fmt: skip
    """See `binned`, made now; without `construct` LightGBM bins them when a fit begins, which may then go on from a model."""
    about = _about(data, settings)
    train = lgb.Dataset(
        data.x[fold.train], label=data.y[fold.train], weight=train_weights(data, fold, class_weight), **about
    )
    held, validation = fold.validation, None
    if held is not None:
        validation = lgb.Dataset(
            data.x[held], label=data.y[held], weight=fold_weights(data, held), reference=train, **about
        )
    if construct:
        train.construct()
        if validation is not None:
            validation.construct()
    return train, validation


def _about(data: Prepared, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What LightGBM is told of the columns; models repeat it, so it is the same for a set that is read."""
    return {
        "feature_name": [f"f{index}" for index in range(data.x.shape[1])],
        "categorical_feature": list(data.categorical),
        "params": {name: settings[name] for name in (*OF_BINNING, *WITHOUT_EFFECT) if name in settings},
    }


def _write(pair: Pair, place: Path) -> None:
    """Puts both into the folder `place`, all at once; does nothing where another was first or the disk is full."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=place.parent))
    sums = {}
    try:
        for name, each in zip((TRAIN, VALIDATION), pair, strict=True):
            if each is not None:
                each.save_binary(part / name)
                sums[name] = _sum(part / name)
        (part / ABOUT).write_text(json.dumps(sums), encoding="utf-8")
        part.rename(place)
    except (OSError, LightGBMError):
        shutil.rmtree(part, ignore_errors=True)


def _read(place: Path, about: Mapping[str, Any], *, has_validation: bool) -> Pair | None:
    """What `_write` put there; None where it did not, or where a file is damaged."""
    try:
        if _intact(place):
            os.utime(place)
            train = lgb.Dataset(place / TRAIN, **about).construct()
            if not has_validation:
                return train, None
            return train, lgb.Dataset(place / VALIDATION, reference=train, **about).construct()
    except (OSError, ValueError, LightGBMError):  # damaged, or removed by another process just now
        shutil.rmtree(place, ignore_errors=True)
    return None


def _intact(place: Path) -> bool:
    """Whether the folder is there, with files that are as they were written.

    Raises:
        OSError, ValueError: it is there, and they are not.
    """
    if not place.exists():
        return False
    sums = json.loads((place / ABOUT).read_text(encoding="utf-8"))
    if sums != {name: _sum(place / name) for name in sums}:
        raise ValueError("a data set is damaged")
    return True


def _rows(fold: Fold) -> str:
    """A digest of the fold's rows: those of one name differ between jobs whose rows are kept together differently."""
    found = hashlib.blake2b(digest_size=16)
    for rows in (fold.train, fold.validation):
        found.update(b"-" if rows is None else len(rows).to_bytes(8) + np.ascontiguousarray(rows).tobytes())
    return found.hexdigest()


def _sum(path: Path) -> int:
    return zlib.crc32(path.read_bytes())


def _shrink(shared: _Folder) -> None:
    """Removes the least recently used until the folder is within its bound; the newest stays."""
    found = []
    for place in shared.path.iterdir():
        try:
            size = sum(file.stat().st_size for file in place.iterdir())
            found.append((place.stat().st_mtime, size, place))
        except FileNotFoundError:
            continue
    total = sum(size for _, size, _ in found)
    for _, size, place in sorted(found)[:-1]:
        if total <= shared.limit_bytes:
            return
        shutil.rmtree(place, ignore_errors=True)
        total -= size
