"""What is saved of a fit beside its model: its curve and its seconds, so that who goes on with it knows all of both.

It stands at the end of the model's file and is cut off again before a trainer reads that. A file without it, which an
earlier release saved, is gone on with all the same: curve and seconds are then those of the last attempt.
"""

import json
from dataclasses import dataclass
from pathlib import Path

MARK = b"\ntrainhouse past 1\n"
LENGTH_BYTES = 8


@dataclass(frozen=True)
class Past:
    """The fit until it was saved.

    Attributes:
        seconds: Of fitting, over all attempts.
        points: (iteration, validation value), up to the iteration that was saved.
    """

    seconds: float = 0.0
    points: tuple[tuple[int, float], ...] = ()


def put(past: Past, path: Path) -> None:
    """Writes `past` behind the model in `path`."""
    text = json.dumps([past.seconds, past.points]).encode()
    with path.open("ab") as file:
        file.write(text + len(text).to_bytes(LENGTH_BYTES) + MARK)


def take(path: Path) -> Past:
    """What `put` wrote behind the model in `path`, which is then the model alone."""
    with path.open("r+b") as file:
        end = path.stat().st_size - len(MARK) - LENGTH_BYTES
        if end < 0:
            return Past()
        file.seek(end)
        length = int.from_bytes(file.read(LENGTH_BYTES))
        if file.read() != MARK:
            return Past()
        file.seek(end - length)
        seconds, points = json.loads(file.read(length))
        file.truncate(end - length)
    return Past(float(seconds), tuple((int(step), float(value)) for step, value in points))
