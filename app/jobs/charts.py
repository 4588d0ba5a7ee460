"""Geometry of the report's charts: where lines, bars and ticks stand in an SVG of fixed size; templates draw them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 78, 14, 12, 34
TICKS = 5
BAR_HEIGHT, BAR_LEFT, BAR_RIGHT = 22, 170, 60

Pairs = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One line; `points` are the coordinates of an SVG polyline."""

    label: str
    points: str
    number: int


@dataclass(frozen=True)
class Tick:
    """A mark of an axis, with where it stands and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """Lines over two axes."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_name: str
    y_name: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Bar:
    """One bar; `share` is what it stands for."""

    label: str
    share: float
    y: int
    length: float


@dataclass(frozen=True)
class Bars:
    """Bars that begin at `left`, the longest as wide as there is room."""

    bars: list[Bar]
    width: int = WIDTH
    left: int = BAR_LEFT
    bar_height: int = BAR_HEIGHT

    @property
    def height(self) -> int:
        """Of the whole drawing."""
        return self.bar_height * len(self.bars) + 8


def line_chart(lines: Mapping[str, Pairs], *, x_name: str, y_name: str) -> Chart | None:
    """The lines in one chart; None where none has a point."""
    drawn = {label: pairs for label, pairs in lines.items() if pairs}
    if not drawn:
        return None
    xs = _range(x for pairs in drawn.values() for x, _ in pairs)
    ys = _range(y for pairs in drawn.values() for _, y in pairs)
    made = [
        Line(label, " ".join(f"{_x(x, xs):.1f},{_y(y, ys):.1f}" for x, y in pairs), number)
        for number, (label, pairs) in enumerate(drawn.items())
    ]
    return Chart(
        made, [Tick(_x(at, xs), said(at)) for at in ticks(*xs)], [Tick(_y(at, ys), said(at)) for at in ticks(*ys)],
        x_name, y_name,
    )  # fmt: skip


def steps(pairs: Pairs, *, until: float | None = None) -> list[tuple[float, float]]:
    """`pairs` as a staircase: each value stands until the next one, the last one until `until`."""
    found: list[tuple[float, float]] = []
    for x, y in pairs:
        if found:
            found.append((x, found[-1][1]))
        found.append((x, y))
    if found and until is not None and until > found[-1][0]:
        found.append((until, found[-1][1]))
    return found


def bar_chart(shares: Mapping[str, float]) -> Bars | None:
    """The largest twelve of `shares` as bars, the largest first; None where there are none."""
    largest = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:12]
    if not largest or largest[0][1] <= 0:
        return None
    room = WIDTH - BAR_LEFT - BAR_RIGHT
    return Bars([
        Bar(label, share, 4 + BAR_HEIGHT * place, round(room * max(share, 0.0) / largest[0][1], 1))
        for place, (label, share) in enumerate(largest)
    ])  # fmt: skip


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, about TICKS of them."""
    raw = (high - low) / TICKS
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * times for times in (1, 2, 2.5, 5, 10) if size * times >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def said(value: float) -> str:
    """A number as an axis says it."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.6g}"


def _range(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    low, high = min(known), max(known)
    if high - low < 1e-12 * max(1.0, abs(high)):
        half = max(abs(high) * 0.01, 1e-6)
        return low - half, high + half
    return low, high


def _x(x: float, over: tuple[float, float]) -> float:
    return LEFT + (x - over[0]) / (over[1] - over[0]) * (WIDTH - LEFT - RIGHT)


def _y(y: float, over: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (y - over[0]) / (over[1] - over[0]) * (HEIGHT - TOP - BOTTOM)
