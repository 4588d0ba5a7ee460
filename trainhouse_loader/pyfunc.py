"""Bundles as MLflow opens them: the `loader_module` that a bundle's `MLmodel` names.

    mlflow.pyfunc.load_model("unpacked-bundle").predict(frame)

MLflow reads `MLmodel` and hands the folder to this module, which checks every byte before anything is loaded. The code
is that of the installed package, never a bundle's own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from trainhouse_loader.bundle import Bundle, open_bundle


class Model:
    """A bundle with the methods that MLflow asks for."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def predict(self, rows: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002  # there are none
        """See `Bundle.predict`; `rows` is a frame, or what pandas makes one of.

        Raises:
            InvalidData: an input column is missing.
        """
        return self.bundle.predict(rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows))


def _load_pyfunc(path: str) -> Model:
    """The bundle in the folder `path`; the name is MLflow's.

    Raises:
        DigestMismatch: the folder is not a bundle as it was packed.
    """
    return Model(open_bundle(Path(path)))
