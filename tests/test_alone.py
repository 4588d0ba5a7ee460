"""Tests start their own engines, and know nothing of an installation that the environment names."""

import os
import subprocess
import sys
from pathlib import Path

OTHERS = {"TRAINHOUSE_DATABASE_URL": "postgresql://somebody@127.0.0.1:1/hers", "trainhouse_s3_endpoint": "127.0.0.1:1"}
PROGRAM = """
import os
import tests.conftest
from standalone.supervisor import is_outside

assert [name for name in os.environ if name.upper().startswith("TRAINHOUSE_")] == []
assert not is_outside("postgres")
"""


def test_what_the_environment_names_is_not_what_tests_run_on():
    known = {"PATH": os.environ["PATH"], **OTHERS}
    argv = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        argv, cwd=Path(__file__).parent.parent, env=known, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
