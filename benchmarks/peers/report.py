"""Writes what the systems reached into docs/benchmarks.md: metrics, ranks, paired differences, seconds and memory.

python -m benchmarks.peers.report --seconds 60

All seeds count with which every system ran on one machine.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import results
from benchmarks.peers.measure import Difference, Measured, lower_is_better, mean_of, mean_ranks, paired, ranks
from benchmarks.peers.run import OWN, SYSTEMS
from benchmarks.peers.tables import GROUPS

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
TITLES = {
    "trainhouse": "Trainhouse", "flaml": "FLAML", "h2o": "H2O AutoML", "autogluon": "AutoGluon",
    "optuna": "Optuna + LightGBM",
}  # fmt: skip
DATA_OF = {"given": " DATA=…", "held-out": ""}
HEADINGS = {"given": "Public tables", "held-out": "Tables that nothing was tuned on"}
PEERS = tuple(name for name in SYSTEMS if name != OWN)
Lines = dict[int, dict[str, Any]]


@dataclass(frozen=True)
class Bout:
    """All systems on one table.

    Attributes:
        lines: By system and seed, the records.
    """

    table: str
    metric: str
    lines: Mapping[str, Lines]

    @cached_property
    def values(self) -> dict[str, float | None]:
        """By system, the mean over seeds; None for who failed on one."""
        return {
            name: float(np.mean([line["value"] for line in lines.values()]))
            if all(line["status"] == "ok" for line in lines.values()) else None
            for name, lines in self.lines.items()
        }  # fmt: skip

    @cached_property
    def ranks(self) -> dict[str, float]:
        """By system, its place."""
        return ranks(self.values, self.metric)

    @property
    def best_peer(self) -> str:
        """The peer with the best mean."""
        return min(PEERS, key=lambda name: self.ranks[name])

    @cached_property
    def differences(self) -> dict[str, Difference]:
        """By peer, how much better Trainhouse is; without those that failed, and empty where Trainhouse did."""
        if self.values[OWN] is None:
            return {}
        ours = self.measured(OWN)
        met = [name for name in PEERS if self.values[name] is not None]
        return {name: paired(self.metric, ours, self.measured(name)) for name in met}

    def verdict(self, peer: str) -> int:
        """1 where Trainhouse is significantly better than `peer`, -1 where worse; who failed is worse than who did not."""
        if peer in self.differences:
            return self.differences[peer].verdict
        return int(self.values[OWN] is not None) - int(self.values[peer] is not None)

    def measured(self, system: str) -> Measured:
        """A system's metric on the test rows, and on those drawn again, over all seeds."""
        return mean_of([Measured.unpacked(line["value"], line["drawn"]) for line in self.lines[system].values()])


def bouts(group: str, *, seconds: int) -> list[Bout]:
    """The tables of a group on which every system ran, with the seeds with which all ran on one machine."""
    known, found = results.kept(), []
    seeds = sorted({record["seed"] for record in known.values()})
    for table in GROUPS[group]:
        contests = {seed: results.contest(known, table, seed, seconds, SYSTEMS) for seed in seeds}
        lines = {name: {seed: held[name] for seed, held in contests.items() if held} for name in SYSTEMS}
        if lines[OWN]:
            found.append(Bout(table, next(iter(lines[OWN].values()))["metric"], lines))
    return found


def written(groups: Mapping[str, list[Bout]], *, seconds: int) -> str:
    """The report as Markdown."""
    parts = []
    for group, held in groups.items():
        if held:
            title, told = f"### {HEADINGS[group]}, {seconds} s", " ".join(bout.table for bout in held)
            most = max(by_seeds(held))
            parts += [
                title,
                f'`make bench-peers TABLES="{told}" SEEDS={most} SECONDS={seconds}{DATA_OF[group]}`',
                provenance(held),
                quality(held),
                summary(held),
                differing(held),
                costs(held),
            ]
    return "\n\n".join(parts)


def provenance(held: list[Bout]) -> str:
    """Where the figures come from: the commit, the seeds, the machine and the peers' versions."""
    lines = [line for bout in held for of_seed in bout.lines.values() for line in of_seed.values()]
    own = sorted({line["commit"] for line in lines if line["system"] == OWN})
    machines = sorted({line["machine"] for line in lines})
    versions = [
        f"{TITLES[name]} {'/'.join(sorted({line.get('version', '?') for line in lines if line['system'] == name}))}"
        for name in PEERS
    ]
    counts = by_seeds(held)
    seeds = "; ".join(
        f"{count} seeds" + (f" on {', '.join(names)}" if len(counts) > 1 else "") for count, names in counts.items()
    )
    return f"Trainhouse at {', '.join(own)}; {', '.join(versions)}; {seeds}; on {'; '.join(machines)}."


def by_seeds(held: list[Bout]) -> dict[int, list[str]]:
    """By how many seeds, the tables that were run with as many."""
    found: dict[int, list[str]] = {}
    for bout in held:
        found.setdefault(len(bout.lines[OWN]), []).append(bout.table)
    return found


def quality(held: list[Bout]) -> str:
    """The metric by table and system, and the mean ranks."""
    rows = [
        [f"{bout.table}, {metric_title(bout.metric)}", *(number(bout.values[name], bout) for name in SYSTEMS)]
        for bout in held
    ]
    places = mean_ranks([bout.ranks for bout in held])
    rows.append(["**mean rank**", *(f"**{places[name]:.2f}**" for name in SYSTEMS)])
    return table(["", *(TITLES[name] for name in SYSTEMS)], rows)


def summary(held: list[Bout]) -> str:
    """Wins and losses by significance, against the best peer of each table and against each peer."""
    best = [bout.verdict(bout.best_peer) for bout in held]
    each = [f"{TITLES[name]} {wins([bout.verdict(name) for bout in held])}" for name in PEERS]
    return f"Trainhouse against the best peer of each table: {wins(best)}. Against each: {'; '.join(each)}."


def wins(verdicts: list[int]) -> str:
    """Counts of significant differences."""
    better, worse = verdicts.count(1), verdicts.count(-1)
    return f"significantly better on {better} of {len(verdicts)}, worse on {worse}"


def differing(held: list[Bout]) -> str:
    """How much better Trainhouse is than each peer, with intervals; the best peer's in bold."""
    rows = []
    for bout in held:
        cells = [difference(bout, name) for name in PEERS]
        bold = [f"**{cell}**" if name == bout.best_peer else cell for name, cell in zip(PEERS, cells, strict=True)]
        rows.append([bout.table, *bold])
    return table(["Trainhouse is better by (95 %)", *(f"than {TITLES[name]}" for name in PEERS)], rows)


def costs(held: list[Bout]) -> str:
    """Mean seconds to the model being ready, and the highest peak of memory."""

    def cell(lines: Lines) -> str:
        spent = [line["fit_seconds"] for line in lines.values() if "fit_seconds" in line]
        peak = max(line["peak_bytes"] for line in lines.values())
        return f"{np.mean(spent):.1f} s, {peak / 1e6:,.0f} MB" if spent else f"–, {peak / 1e6:,.0f} MB"

    rows = [[bout.table, *(cell(bout.lines[name]) for name in SYSTEMS)] for bout in held]
    return table(["seconds, peak memory", *(TITLES[name] for name in SYSTEMS)], rows)


def metric_title(metric: str) -> str:
    """The metric's name and which way is up."""
    return f"{metric} {'↓' if lower_is_better(metric) else '↑'}"


def digits(bout: Bout) -> Callable[[float], str]:
    """Five figures of the table's size."""
    size = max((abs(value) for value in bout.values.values() if value is not None), default=1.0)
    places = max(0, 4 - int(np.floor(np.log10(size or 1.0))))
    return lambda value: f"{value:,.{min(places, 5)}f}"


def number(value: float | None, bout: Bout) -> str:
    """A metric's value."""
    return "failed" if value is None else digits(bout)(value)


def difference(bout: Bout, peer: str) -> str:
    """A difference with its interval, marked where it is significant."""
    mark = {1: " +", -1: " −", 0: ""}[bout.verdict(peer)]
    if peer not in bout.differences:
        return f"{TITLES[OWN] if bout.values[OWN] is None else TITLES[peer]} failed{mark}"
    found, write = bout.differences[peer], digits(bout)
    return f"{write(found.value)} ({write(found.low)} to {write(found.high)}){mark}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def placed(page: str, text: str, *, seconds: int) -> str:
    """The page with `text` between its markers, which are put at the end where they are missing."""
    begin, end = f"<!-- peers, {seconds} s -->", f"<!-- end of peers, {seconds} s -->"
    if begin not in page:
        page = f"{page.rstrip()}\n\n{begin}\n{end}\n"
    before, rest = page.split(begin, 1)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}"


def told_of(groups: Mapping[str, list[Bout]]) -> Iterator[str]:
    """The names of the tables that the report holds."""
    return (bout.table for held in groups.values() for bout in held)


def main() -> None:
    """Writes the report of one budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    groups = {group: bouts(group, seconds=asked.seconds) for group in HEADINGS}
    if not any(groups.values()):
        print(f"no table has results of all systems in {asked.seconds} s; nothing is written")
        return
    text = written(groups, seconds=asked.seconds)
    asked.page.write_text(placed(asked.page.read_text(encoding="utf-8"), text, seconds=asked.seconds), encoding="utf-8")
    print(f"{asked.page.name}: {', '.join(told_of(groups))}")


if __name__ == "__main__":
    main()
