"""Points of a space that depend on a trial's number alone: drawn uniformly, or from a Sobol sequence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from workers.search.space import Axis, Branch, Space, at


def uniform(space: Space, *, seed: int, number: int) -> dict[str, Any]:
    """The parameters of trial `number`, each axis drawn on its own."""
    return _point(space, generator(seed, number).random(_width(space)).tolist())


def sobol(space: Space, *, seed: int, number: int) -> dict[str, Any]:
    """Point `number` of a scrambled Sobol sequence over the space (Owen, 1998); the algorithm is its first axis."""
    sequence = qmc.Sobol(_width(space), scramble=True, rng=np.random.default_rng(seed))
    if number:
        sequence.fast_forward(number)
    return _point(space, sequence.random(1)[0].tolist())


def drawn(axes: Sequence[Axis], *, random: np.random.Generator) -> dict[str, Any]:
    """A value for each of `axes`."""
    shares = random.random(len(axes)).tolist()
    return {axis.name: at(axis.distribution, share) for axis, share in zip(axes, shares, strict=True)}


def generator(seed: int, number: int) -> np.random.Generator:
    """The random numbers of trial `number`."""
    return np.random.default_rng([seed, number])


def _width(space: Space) -> int:
    return 1 + max(len(branch.axes) for branch in space.branches)


def _point(space: Space, shares: Sequence[float]) -> dict[str, Any]:
    branch: Branch = space.branches[min(int(shares[0] * len(space.branches)), len(space.branches) - 1)]
    values: dict[str, Any] = {}
    for axis, share in zip(branch.axes, shares[1:], strict=False):
        if axis.holds(values):
            values[axis.name] = at(axis.distribution, share)
    return space.params(branch, values)
