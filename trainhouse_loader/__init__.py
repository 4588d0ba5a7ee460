"""Opens model bundles of Trainhouse, and predicts with them: every byte checked, no pickle, nothing run from a bundle.

    from trainhouse_loader import open_bundle
    open_bundle("bundle.zip").predict(frame)

A bundle's `requirements.txt` names what it needs; nothing else of Trainhouse is needed.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainhouse_loader.bundle import Bundle, open_bundle

__version__ = "0.1.0"
__all__ = ["Bundle", "open_bundle"]


def __getattr__(name: str) -> Any:
    """What `__all__` names, loaded when it is wanted: the service takes its errors from here, and no library."""
    if name not in __all__:
        raise AttributeError(name)
    from trainhouse_loader import bundle  # noqa: PLC0415  # see above

    return getattr(bundle, name)
