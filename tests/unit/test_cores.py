"""Fits of one machine share its cores: never more threads than there are, and a dead process gives its cores back."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.driver import eventually
from workers.cores import Cores, quota, threads_wanted

HOLDER = """
import sys
from contextlib import ExitStack
from pathlib import Path
from workers.cores import Cores
with ExitStack() as until:
    print(Cores(Path(sys.argv[1]), 2).try_take(2, until), flush=True)
    sys.stdin.read()
"""


def test_all_takers_together_get_no_more_than_there_are(tmp_path: Path) -> None:
    cores = Cores(tmp_path, 3)
    with ExitStack() as first, ExitStack() as second, ExitStack() as third:
        assert [cores.try_take(2, first), cores.try_take(2, second), cores.try_take(2, third)] == [2, 1, 0]
        first.close()
        assert cores.try_take(5, third) == 2


def test_a_killed_process_gives_its_cores_back(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other, ExitStack() as until:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "2"
        assert Cores(tmp_path, 2).try_take(1, until) == 0
        other.kill()
        other.wait()
        eventually(lambda: Cores(tmp_path, 2).try_take(2, until) == 2, within=5, what="the cores of the dead")


def test_who_waits_for_a_core_may_be_told_to_stop(tmp_path: Path) -> None:
    cores = Cores(tmp_path, 1)

    def stop() -> None:
        raise TimeoutError

    with cores.taken(4, check=stop) as got:
        assert got == 1
        with pytest.raises(TimeoutError), cores.taken(1, check=stop):
            pass
    with cores.taken(1, check=stop) as again:
        assert again == 1


def test_who_wants_all_keeps_what_it_has_until_the_rest_is_free(tmp_path: Path) -> None:
    cores, asked = Cores(tmp_path, 2), []
    with ExitStack() as narrow, ExitStack() as wide, ExitStack() as other:
        cores.try_take(1, other)
        cores.try_take(1, narrow)
        other.close()  # the first core is free, the second is not

        def look() -> None:
            asked.append(cores.try_take(1, other))  # nobody else gets the one that is kept
            narrow.close()

        assert cores.take_all(2, wide, check=look, seconds=60.0)
        assert asked == [0]
        assert cores.try_take(1, other) == 0
        wide.close()
        assert cores.try_take(2, other) == 2


def test_who_does_not_get_all_in_time_gets_none(tmp_path: Path) -> None:
    cores = Cores(tmp_path, 2)
    with ExitStack() as narrow, ExitStack() as wide, ExitStack() as other:
        cores.try_take(1, wide)
        cores.try_take(1, narrow)
        wide.close()
        assert not cores.take_all(2, wide, check=lambda: None, seconds=0.0)
        assert cores.try_take(2, other) == 1


@pytest.mark.parametrize("busy", [0, 1, 2])
def test_a_fit_of_two_threads_makes_do_with_one_core_and_goes_without_none(tmp_path: Path, busy: int) -> None:
    cores = Cores(tmp_path, 2)
    with ExitStack() as narrow, ExitStack() as wide, ExitStack() as other:
        cores.try_take(busy, narrow)
        assert cores.take_whole(2, wide, check=lambda: None, seconds=0.0) == (busy < 2)
        assert cores.try_take(2, other) == 0, "it holds what was free"


@pytest.mark.parametrize(
    ("asked", "cells", "alone", "deterministic", "wanted"),
    [
        ("auto", 1_000, True, False, 1), ("auto", 1_000_000, True, False, 2), ("auto", 1_000_000, False, False, 1),
        ("auto", 9_000_000, False, False, 1), ("auto", 50_000_000, False, False, 2), ("auto", 9_000_000, False, True, 1), (2, 1_000, False, True, 2),
        (64, 1_000, False, False, 2),
    ],
)  # fmt: skip
def test_threads_go_by_size_unless_the_caller_says_how_many(
    asked: int | str,
    cells: int,
    alone: bool,  # noqa: FBT001  # a case of the table above
    deterministic: bool,  # noqa: FBT001  # and so is this
    wanted: int,
) -> None:
    assert threads_wanted(asked, cells=cells, alone=alone, most=2, deterministic=deterministic) == wanted


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000"}, 2), ({"cpu.max": "150000 100000"}, 2), ({"cpu.max": "5000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None), ({"cpu.max": "broken"}, None), ({}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)  # fmt: skip
def test_a_container_has_the_cores_that_its_quota_gives(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert quota(tmp_path) == cores
