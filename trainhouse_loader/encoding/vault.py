"""Estimators out of files: skops with a fixed allow-list."""

import zipfile
from pathlib import Path
from typing import Any

import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from trainhouse_loader.errors import DigestMismatch, bounded

TRUSTED = ["numpy.dtype"]
"""What a file may hold beyond the types that skops itself knows to be harmless; never taken from the file."""


def load(path: Path) -> Any:
    """The state (plain values, arrays, estimators of scikit-learn) in the file `path`.

    Raises:
        DigestMismatch: the file is none of ours, or holds a type that is not allowed.
    """
    try:
        return skops.io.load(path, trusted=TRUSTED)
    except (UntrustedTypesFoundException, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise DigestMismatch(f"The encoder file cannot be trusted: {bounded(error)}.") from None
