"""Words that every room shares: the parts of a split, and the kinds of tasks."""

from typing import Literal

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
