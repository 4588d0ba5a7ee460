"""Model cards for people, as Markdown and as a page, whatever has something to say of a model.

After Mitchell et al. (2019), https://doi.org/10.1145/3287560.3287596.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.pages import Page

PAGE = Page("app", "card")


@dataclass(frozen=True)
class Section:
    """A part of a card: a paragraph, a list of points, and a table; each may be empty."""

    title: str
    text: str = ""
    points: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default=())


LIMITS = Section("What it is not for", points=(
    "The metrics hold for rows drawn as the test rows were.",
    "Missing and unseen values are accepted; rows unlike the training data get an answer, but nothing here says how good.",
    "Differences between groups were measured only where the evaluation's slices, or gaps of the gate's rules, name them.",
))  # fmt: skip


@dataclass(frozen=True)
class Card:
    """What is said of a model; a caller's words in it may be anything."""

    title: str
    description: str
    sections: Sequence[Section]


def markdown(card: Card) -> str:
    """The card as Markdown; a caller's words in it are made harmless, so that none is read as markup."""
    lines = [f"# {_plain(card.title)}", ""]
    if card.description:
        lines += [_plain(card.description), ""]
    for section in card.sections:
        lines += [f"## {section.title}", ""]
        lines += [_plain(section.text), ""] if section.text else []
        lines += [f"- {_plain(point)}" for point in section.points]
        if section.rows:
            lines += [_row(section.head), "|---" + "|---:" * (len(section.head) - 1) + "|", *map(_row, section.rows)]
        lines.append("")
    return "\n".join(lines)


def page(card: Card) -> str:
    """The card as one HTML page without scripts; see `markdown`."""
    return PAGE.rendered(card=card)


def number(value: Any) -> str:
    """A number as cards show it; nothing for what is none."""
    return f"{value:.6g}" if isinstance(value, int | float) else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: object) -> str:
    """`text` on one line, with everything that Markdown or HTML would read as markup escaped."""
    words = " ".join(str(text).split())
    return "".join(f"\\{char}" if char in "\\`*_[]{}<>()#|!~&" else char for char in words)
