"""The one problem that every linear model is, and how it is solved.

L-BFGS-B does (Byrd et al. 1995, https://doi.org/10.1137/0916069); a bound at 0 keeps a coefficient's sign.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from trainhouse_loader.models.fitted import Floats
from workers.trainers.losses import Loss

MOST_STEPS = 1_000
MEMORY = 20
"""Steps whose gradients are remembered."""


class Enough(Exception):  # a signal from inside the solver, caught here
    """The fit is over."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The weighted mean of a loss, with penalties of the coefficients, as a function of one flat vector.

    The vector holds the coefficients, then the intercepts. With an absolute penalty it holds the positive parts of the
    coefficients, the sizes of their negative parts, and the intercepts: so the penalty has a slope everywhere.

    Attributes:
        matrix: (train rows, columns) The design.
        y: (train rows,) The target as it is learned.
        weight: (train rows,) Adding up to 1.
        l1: The strength of absolute values.
        l2: The strength of squares.
        signs: (columns,) 1 or -1 where a coefficient has that sign at the most, 0 where it is free.
    """

    matrix: Any
    y: Floats
    weight: Floats
    outputs: int
    losses: list[Loss]
    l1: float
    l2: float
    signs: Floats

    def split(self, theta: Floats) -> tuple[Floats, Floats]:
        """((outputs, columns) coefficients, (outputs,) intercepts)."""
        own, intercepts = theta[: -self.outputs].copy(), theta[-self.outputs :].copy()
        if self.l1:
            own = own[: len(own) // 2] - own[len(own) // 2 :]
        return own.reshape(self.outputs, -1), intercepts

    def vector(self, coefficients: Floats, intercepts: Floats) -> Floats:
        """What `split` takes apart."""
        own = coefficients.ravel()
        parts = [np.maximum(own, 0.0), np.maximum(-own, 0.0)] if self.l1 else [own]
        return np.concatenate([*parts, intercepts])

    def bounds(self) -> list[tuple[float | None, float | None]] | None:
        """Of each number of the vector."""
        if not self.l1 and not self.signs.any():
            return None
        signs = np.tile(self.signs, self.outputs)
        own: list[tuple[float | None, float | None]]
        if self.l1:
            own = [(0.0, 0.0 if sign < 0 else None) for sign in signs]
            own += [(0.0, 0.0 if sign > 0 else None) for sign in signs]
        else:
            own = [(0.0 if sign > 0 else None, 0.0 if sign < 0 else None) for sign in signs]
        return [*own, *[(None, None)] * self.outputs]

    def value(self, theta: Floats, loss: Loss) -> tuple[float, Floats]:
        """The objective and its gradient."""
        coefficients, intercepts = self.split(theta)
        each, slope = loss(self.y, self.matrix @ coefficients.T + intercepts)
        slope *= self.weight[:, None]
        own = (self.matrix.T @ slope).T + self.l2 * coefficients
        value = float(self.weight @ each) + 0.5 * self.l2 * float((coefficients**2).sum())
        if not self.l1:
            return value, np.concatenate([own.ravel(), slope.sum(axis=0)])
        value += self.l1 * float(theta[: -self.outputs].sum())
        return value, np.concatenate([own.ravel() + self.l1, -own.ravel() + self.l1, slope.sum(axis=0)])


Step = Callable[[int, Floats], None]
"""Called with (steps taken, the vector) after each; raises Enough to end."""


def solve(problem: Problem, theta: Floats, *, taken: int, most: int, step: Step) -> None:
    """Minimises each loss from where the last one ended, in `most` steps, of which `taken` were taken before."""

    def told(intermediate_result: Any) -> None:
        nonlocal taken
        taken += 1
        step(taken, intermediate_result.x)

    for loss in problem.losses:
        if taken >= most:
            return
        options = {"maxiter": most - taken, "maxfun": 20 * MOST_STEPS, "maxcor": MEMORY, "ftol": 1e-10, "gtol": 1e-6}
        try:
            found = minimize(
                problem.value, theta, args=(loss,), jac=True, method="L-BFGS-B", bounds=problem.bounds(), callback=told,
                options=options,
            )  # fmt: skip
        except Enough:
            return
        theta = found.x
