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
MOST_FLOATS = 4_000_000
"""Of what is kept as floats, which take several times the bytes of bins; what is larger alone is not kept at all."""


class Kept(threading.local, Generic[Made]):
    """The last few things made of matrices, by what they were made with; each is gone when its matrix is.

    Every thread keeps its own: the libraries do not promise that two fits may read one of theirs at a time.

    Args:
        most_cells: Of all that is kept.
        size: The cells of what was made, where those of its matrix say little of them.
    """

    def __init__(self, most_cells: int = MOST_CELLS, size: Callable[[Made], int] | None = None) -> None:
        self.most_cells, self._size = most_cells, size
        self._kept: OrderedDict[tuple[Any, ...], tuple[weakref.ref[Prepared], int, Made]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, data: Prepared, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What was made of `data` with `key`, or what `make` makes now."""
        kept, whole = self._kept, (id(data), *key)
        if whole in kept:
            kept.move_to_end(whole)
            return kept[whole][2]
        if self._size is None:
            self._make_room(data.x.size)
        made = make()
        data.let_go()
        cells = data.x.size if self._size is None else self._size(made)
        if self._size is not None:
            if cells > self.most_cells:
                return made
            self._make_room(cells)
        kept[whole] = (weakref.ref(data, lambda _data: kept.pop(whole, None)), cells, made)
        return made

    def _make_room(self, cells: int) -> None:
        """Forgets so much that there is room for `cells`; mostly before they are made, or both would be in memory."""
        while self._kept and sum(size for _, size, _ in self._kept.values()) + cells > self.most_cells:
            self._kept.popitem(last=False)
