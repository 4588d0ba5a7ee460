"""The target: which task it makes, its classes, and its values as numbers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import InvalidData, bounded
from app.spec.base import Scalar
from app.spec.data import Task
from trainhouse_loader.terms import TaskType

MAX_CLASSES = 1_000
FEW_WHOLE_NUMBERS = 20
ROWS_PER_CLASS = 10


@dataclass(frozen=True)
class Target:
    """A resolved task: its type and, for classes, their labels as text in sorted order, the positive one last."""

    task_type: TaskType
    classes: tuple[str, ...] = ()


def labels(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a canonical column as class labels: `5`, `1.5`, `true`, or the text itself."""
    return column.cast(pa.large_string())


def known(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """(rows,) True where the target has a value that can be learned from; infinity is none."""
    valid: npt.NDArray[np.bool_] = pc.is_valid(column).to_numpy()
    if column.type == pa.float64():
        valid = valid & np.isfinite(column.to_numpy())
    return valid


def resolve(column: pa.ChunkedArray, task: Task, *, said: str | None = None) -> Target:
    """The task that the known values of `column` and the spec make together; `said` is what the whole spec says of it.

    Raises:
        InvalidData: `single_class`, `constant_target`, `not_binary`, `too_many_classes`, `target_not_numeric`,
            `target_type`, `unknown_positive_class`, `no_positive_class`.
    """
    if column.type == pa.timestamp("us"):
        raise _refused(task, "holds times", "target_type", "Derive a number or a class from it in features.sql.")
    distinct = pc.unique(column)
    kind = said or task.type
    kind = kind if kind != "auto" else _guessed(column, len(distinct))
    if kind == "regression":
        return _regression(column, len(distinct), task)
    classes = sorted(labels(pa.chunked_array([distinct])).to_pylist())
    if len(classes) < 2:
        raise _refused(task, "has one class only" if classes else "has no values", "single_class",
                       "A classifier needs rows of at least two classes.")  # fmt: skip
    if kind == "binary" and len(classes) > 2:
        raise _refused(task, f"has {len(classes):,} classes", "not_binary", "Use task.type multiclass.")
    if len(classes) > MAX_CLASSES:
        raise _refused(task, f"has {len(classes):,} classes; at most {MAX_CLASSES:,} are allowed", "too_many_classes",
                       "Use task.type regression for numbers, or group rare classes.")  # fmt: skip
    if task.positive_class is not None:
        classes = _positive_last(classes, task)
    return Target("binary" if len(classes) == 2 else "multiclass", tuple(classes))


def _guessed(column: pa.ChunkedArray, distinct: int) -> str:
    """Numbers are measured, except whole ones that take few values; anything else is a class."""
    if column.type == pa.float64():
        return "regression"
    if column.type == pa.int64() and distinct > 2:
        return (
            "multiclass" if distinct <= FEW_WHOLE_NUMBERS and distinct * ROWS_PER_CLASS <= len(column) else "regression"
        )
    return "multiclass"


def _regression(column: pa.ChunkedArray, distinct: int, task: Task) -> Target:
    if pa.types.is_large_string(column.type):
        raise _refused(task, "holds text", "target_not_numeric", "Use task.type multiclass, or clean the numbers.")
    if distinct < 2:
        raise _refused(task, "has one value only" if distinct else "has no values", "constant_target",
                       "There is nothing to predict.")  # fmt: skip
    if task.positive_class is not None:
        raise _refused(task, "holds numbers to predict, of which none is the positive class", "no_positive_class",
                       "Leave task.positive_class out, or set task.type to binary.")  # fmt: skip
    return Target("regression")


def _positive_last(classes: list[str], task: Task) -> list[str]:
    """The two `classes` with the positive one last."""
    wanted = _label_of(task.positive_class)
    if wanted not in classes:
        lower = [name for name in classes if name.lower() == wanted.lower()]
        if len(lower) != 1:
            shown = ", ".join(repr(bounded(name)) for name in classes[:10])
            raise _refused(
                task, f"has no class {bounded(wanted)!r}", "unknown_positive_class", f"Its classes are {shown}."
            )
        wanted = lower[0]
    if len(classes) > 2:
        raise _refused(task, f"has {len(classes):,} classes, of which none is the positive one", "no_positive_class",
                       "Leave task.positive_class out: it is for two classes.")  # fmt: skip
    return [name for name in classes if name != wanted] + [wanted]


def _label_of(value: Scalar | None) -> str:
    """A scalar of the spec as the label that `labels` gives its like."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _refused(task: Task, what: str, code: str, hint: str) -> InvalidData:
    return InvalidData(f"The target {bounded(task.target)!r} {what}.", code=code, hint=hint)


def encode(column: pa.ChunkedArray, target: Target) -> npt.NDArray[np.float64]:
    """(rows,) The target as numbers: class index, or the value itself; NaN where it is missing."""
    if target.task_type == "regression":
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    coded = column.combine_chunks().dictionary_encode()
    index = pc.index_in(coded.dictionary.cast(pa.large_string()), value_set=pa.array(target.classes, pa.large_string()))
    numbers = np.append(index.cast(pa.float64()).to_numpy(zero_copy_only=False), np.nan)
    return np.asarray(numbers[coded.indices.fill_null(-1).to_numpy()], dtype=np.float64)
