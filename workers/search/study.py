"""Optuna's samplers over rows that this process has mostly told them already."""

import datetime as dt
import importlib.util
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from app.errors import MachineError
from workers.context import TrialResult
from workers.search import draws
from workers.search.outcomes import BEYOND, Judge
from workers.search.space import Axis, Branch, Space, nearest_to, relaxed

STARTUP_TRIALS = 8
"""So many trials are drawn before results are learned from, shared among the algorithms."""
FEWEST_OF_EACH = 3
MOST_ROWS, BEST_ROWS = 150, 25
NOW = 10**9
"""The number of the trial that is asked for: Optuna only wants it to differ from the others."""
LONG_AGO = dt.datetime(2000, 1, 1)  # noqa: DTZ001  # Optuna compares naive times; ours mean nothing
MOST_KEPT = 8

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass
class _Known:
    """What is known of one branch, or of the choice among branches (`algorithm` its only parameter)."""

    ended: list[FrozenTrial] = field(default_factory=list)
    running: list[FrozenTrial] = field(default_factory=list)

    @property
    def tries(self) -> int:
        """How many trials it had, ended or not."""
        return len(self.ended) + len(self.running)


class _Rows(InMemoryStorage):
    """A storage that answers with the rows it is given; nothing is written, nothing is copied."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: Sequence[FrozenTrial] = ()

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None  # noqa: ARG002, FBT001, FBT002
    ) -> list[FrozenTrial]:  # fmt: skip
        return [row for row in self.rows if states is None or row.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Nothing: samplers note their draw for other processes, which here read rows."""


class Study:
    """The ended trials of one search as Optuna knows them.

    An asked point depends on the rows and on the seed alone, never on what was asked before: samplers are made anew
    for each, and only the rows are kept.
    """

    def __init__(self, space: Space, judge: Judge) -> None:
        self.space = space
        self.judge = judge
        self._startup = max(FEWEST_OF_EACH, STARTUP_TRIALS // len(space.branches))
        self._seen: dict[int, tuple[float, Mapping[str, Any]]] = {}
        self._branches = {branch.algorithm: _Known() for branch in space.branches}
        self._root = _Known()
        self._storage = _Rows()
        self._optuna = optuna.create_study(storage=self._storage)

    def tell(self, history: Sequence[TrialResult]) -> bool:
        """Adds the rows of `history` that are new; those outside the space say nothing.

        Returns:
            False, with nothing added, where the study was told a row that `history` does not hold: it is of another
            search then.
        """
        given = {trial.number: (self.judge.loss(trial), trial.params) for trial in history}
        if any(given.get(number) != told for number, told in self._seen.items()):
            return False
        for number in sorted(given.keys() - self._seen.keys()):
            loss, params = self._seen[number] = given[number]
            self._add(params, number=number, loss=loss)
        for known in (self._root, *self._branches.values()):
            known.ended.sort(key=lambda row: row.number)
        return True

    def run(self, running: Sequence[Mapping[str, Any]]) -> None:
        """Notes what runs now, in place of what ran before."""
        for known in (self._root, *self._branches.values()):
            known.running = []
        for place, params in enumerate(sorted(running, key=lambda each: sorted(map(repr, each.items())))):
            self._add(params, number=NOW + 1 + place, loss=None)

    def _add(self, params: Mapping[str, Any], *, number: int, loss: float | None) -> None:
        branch = self.space.branch_of(params)
        if branch is None:
            return
        values = branch.inside(params)
        if values is None:
            return
        of_branch, of_root = self._branches[branch.algorithm], self._root
        for known, held in ((of_branch, values), (of_root, {"algorithm": branch.algorithm})):
            (known.running if loss is None else known.ended).append(_row(number, held, loss))

    def ask(self, *, seed: int, number: int, sampler: str = "tpe", algorithm: str | None = None) -> dict[str, Any]:
        """The parameters to try next.

        Args:
            algorithm: Of the point; left out, the sampler chooses that too.
            sampler: `tpe` (Bergstra et al., 2011; multivariate) or `gp` (a Gaussian process, expected improvement).

        Raises:
            MachineError: `extra_missing`: the sampler's library is not installed.
        """
        random = draws.generator(seed, number)
        asking = _sampler(sampler, seed=int(random.integers(2**32)))
        branch = self._branch(asking, algorithm)
        known = self._branches[branch.algorithm]
        values: dict[str, Any] = {}
        for group in branch.groups():
            if group[0].holds(values):
                values.update(self._group(asking, known, group, random=random))
        return self.space.params(branch, {axis.name: values[axis.name] for axis in branch.axes if axis.name in values})

    def _branch(self, asking: BaseSampler, algorithm: str | None) -> Branch:
        """That of `algorithm`; otherwise each is tried a few times, then the sampler says."""
        branches = {branch.algorithm: branch for branch in self.space.branches}
        name = algorithm or min(branches, key=lambda name: self._branches[name].tries)
        if algorithm is None and len(branches) > 1 and self._branches[name].tries >= self._startup:
            name = self._sampled(asking, self._root, {"algorithm": CategoricalDistribution(list(branches))})[
                "algorithm"
            ]
        return branches[name]

    def _group(
        self, asking: BaseSampler, known: _Known, group: tuple[Axis, ...], *, random: np.random.Generator
    ) -> dict[str, Any]:
        """Values of axes that share a condition, learned from the trials that had them."""
        values = draws.drawn(group, random=random)
        searched = {axis.name: relaxed(axis.distribution) for axis in group if not axis.distribution.single()}
        told = sum(group[0].name in row.params for row in known.ended)
        if searched and told >= self._startup:
            found = self._sampled(asking, known, searched)
            values.update(
                (axis.name, nearest_to(axis.distribution, found[axis.name])) for axis in group if axis.name in found
            )
        return values

    def _sampled(self, asking: BaseSampler, known: _Known, searched: dict[str, BaseDistribution]) -> dict[str, Any]:
        ended = [row for row in known.ended if searched.keys() <= row.params.keys()]
        running = [row for row in known.running if searched.keys() <= row.params.keys()]
        self._storage.rows = [*_telling(ended), *running]
        if isinstance(asking, GPSampler):
            self._storage.rows = _bounded(self._storage.rows)
        found = asking.sample_relative(self._optuna, _row(NOW, {}, None), searched)
        return {name: _plain(value) for name, value in found.items()}


def _row(number: int, params: dict[str, Any], loss: float | None) -> FrozenTrial:
    """A trial as a row tells it; `loss` is None while it runs."""
    ended = loss is not None
    return FrozenTrial(
        number=number, trial_id=number, state=TrialState.COMPLETE if ended else TrialState.RUNNING, value=loss,
        params=params, distributions={}, intermediate_values={}, user_attrs={}, system_attrs={},
        datetime_start=LONG_AGO, datetime_complete=LONG_AGO if ended else None,
    )  # fmt: skip


def _telling(rows: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
    """The best rows and the newest others, so that an ask costs the same however long the search is.

    TPE gives the oldest of many rows hardly any weight (Bergstra et al., 2013); here they have none.
    """
    if len(rows) <= MOST_ROWS:
        return rows
    best = {row.number for row in sorted(rows, key=lambda row: (row.value, row.number))[:BEST_ROWS]}
    others = [row.number for row in rows if row.number not in best]
    chosen = best.union(others[BEST_ROWS - MOST_ROWS :])
    return [row for row in rows if row.number in chosen]


def _bounded(rows: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The rows with the worst real loss in place of those beyond all measure, which a Gaussian process cannot take."""
    worst = max((row.value for row in rows if row.value is not None and row.value < BEYOND), default=0.0)
    return [row if row.value is None or row.value < BEYOND else _row(row.number, row.params, worst) for row in rows]


def _sampler(name: str, *, seed: int) -> BaseSampler:
    if name != "gp":
        return TPESampler(seed=seed, n_startup_trials=0)
    if importlib.util.find_spec("torch") is None:
        raise MachineError(
            "Sampler gp needs torch, which this worker does not have.", code="extra_missing",
            hint="pip install 'trainhouse[gp]', or take sampler tpe.",
        )  # fmt: skip
    return GPSampler(seed=seed, n_startup_trials=0)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


_KEPT: list[Study] = []


def study_of(space: Space, judge: Judge, history: Sequence[TrialResult]) -> Study:
    """A study that was told `history` and nothing else; the ones used last stay in memory for the next call."""
    for study in reversed(_KEPT):
        if study.judge == judge and study.space == space and study.tell(history):
            _KEPT.remove(study)
            _KEPT.append(study)
            return study
    study = Study(space, judge)
    study.tell(history)
    _KEPT[:] = [*_KEPT[1 - MOST_KEPT :], study]
    return study
