"""What a library made of a matrix, kept for the next fit of this process."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from workers.matrix.prepared import Prepared

Made = TypeVar("Made")
MOST_CELLS = 60_000_000
"""Of the matrices behind what one library keeps, all together; the newest is kept whatever its size."""


class Kept(threading.local, Generic[Made]):
    """The last few things made of matrices, by what they were made with; each is gone when its matrix is.

    Every thread keeps its own: the libraries do not promise that two fits may read one of theirs at a time.
    """

    def __init__(self, most_cells: int = MOST_CELLS) -> None:
        self.most_cells = most_cells
        self._kept: OrderedDict[tuple[Any, ...], tuple[weakref.ref[Prepared], int, Made]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, data: Prepared, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What was made of `data` with `key`, or what `make` makes now."""
        kept, whole = self._kept, (id(data), *key)
        if whole not in kept:
            self._make_room(data.x.size)
            gone = weakref.ref(data, lambda _data: kept.pop(whole, None))
            kept[whole] = (gone, data.x.size, make())
            data.let_go()
        kept.move_to_end(whole)
        return kept[whole][2]

    def _make_room(self, cells: int) -> None:
        """Forgets before there is more, or both would be in memory."""
        while self._kept and sum(size for _, size, _ in self._kept.values()) + cells > self.most_cells:
            self._kept.popitem(last=False)
