"""What a library made of a matrix, kept for the next fit of this process."""

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from workers.matrix.prepared import Prepared

Made = TypeVar("Made")


class Kept(Generic[Made]):
    """The last few things made of matrices, by what they were made with; gone when their matrix is."""

    def __init__(self, at_most: int) -> None:
        self.at_most = at_most
        self._kept: OrderedDict[tuple[Any, ...], tuple[weakref.ref[Prepared], Made]] = OrderedDict()

    def get(self, data: Prepared, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What was made of `data` with `key`, or what `make` makes now."""
        for stale in [each for each, (source, _) in self._kept.items() if source() is None]:
            del self._kept[stale]
        whole = (id(data), *key)
        if whole not in self._kept:
            while len(self._kept) >= self.at_most:  # first, or both would be in memory
                self._kept.popitem(last=False)
            self._kept[whole] = (weakref.ref(data), make())
        self._kept.move_to_end(whole)
        return self._kept[whole][1]
