"""What a search begins with: its plan, its budget, what refits will cost, and what a warm start brings."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from app.spec.job import JobSpec
from app.spec.modelling import grid_points
from workers.budget import refit_factor
from workers.cores import WIDE_CELLS
from workers.search.auto import longest_seconds
from workers.search.facts import facts_of
from workers.search.plan import planned


def opened(spec: JobSpec, outputs: Mapping[str, Mapping[str, Any]], *, cores: int = 1) -> dict[str, Any]:
    """The search of `spec` as the job's row keeps it from here on.

    Args:
        outputs: Of the stages so far.
        cores: That the refits will have.
    """
    facts = facts_of(outputs)
    plan, tuning = asdict(planned(spec, facts)), spec.tuning
    rows = outputs.get("split", {}).get("rows", {})
    whole_grid = plan["strategy"] == "grid" and plan["trials"] == grid_points(tuning.space)
    deterministic = spec.reproducibility.mode == "deterministic"
    return {
        **plan, "max_seconds": tuning.max_seconds, "patience": tuning.patience, "bounds": tuning.constraints.bounds, "whole_grid": whole_grid,
        "cells": facts.rows * facts.features, "lanes": 1 if facts.rows * facts.features > WIDE_CELLS else cores,
        "refit_factor": refit_factor(rows, folds=plan.get("folds", 0)),
        "longest_seconds": longest_seconds(spec, facts), "facts": asdict(facts), "deterministic": deterministic, "threads": spec.resources.threads, "ended": False, "ended_by": None,
    }  # fmt: skip
