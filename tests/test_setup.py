"""`.ci/setup` installs the lock with uv, or without where there is none, from the index that pip is led to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SECRET = "https://somebody:hush@packages.example.com/simple"
STUBS = {
    # The last file that is to be installed is kept; uv's own is none for this machine where STUB_NO_UV says so.
    "pip": """
case "$*" in
    "config get $STUB_SECTION.index-url") echo "$STUB_INDEX"; exit 0 ;;
    config*) exit 1 ;;
esac
lock=$(echo "$*" | sed -n 's/.*-r \\([^ ]*\\).*/\\1/p')
if [ -n "$lock" ] && grep -q '^uv==' "$lock"; then
    [ -z "$STUB_NO_UV" ] || exit 1
    mv "$HERE/absent-uv" "$HERE/uv"
elif [ -n "$lock" ]; then
    cp "$lock" "$HERE/installed"
fi
""",
    "absent-uv": 'echo "${UV_DEFAULT_INDEX-none} ${UV_INDEX_URL-none}" > "$HERE/index"',
    "python": "",
}


def set_up(folder: Path, **known: str) -> str:
    """What `.ci/setup` says of a venv whose programs are stubs; they leave files behind."""
    for name, program in STUBS.items():
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nHERE="{path.parent}"\n{program}')
        path.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "VENV": str(folder), **known}
    done = subprocess.run([ROOT / ".ci/setup"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_where_there_is_no_uv_pip_installs_all_else(tmp_path: Path):
    assert "with pip" in set_up(tmp_path, STUB_NO_UV="yes")
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    installed = (tmp_path / "bin/installed").read_text().splitlines()
    names = [line.split("==")[0] for line in locked if line[0] != " "]
    assert [line.split("==")[0] for line in installed if line[0] != " "] == [name for name in names if name != "uv"]
    assert set(installed) < set(locked)


@pytest.mark.parametrize(("known", "index"), [
    ({}, "none none"), ({"PIP_INDEX_URL": SECRET}, f"{SECRET} none"),
    ({"STUB_SECTION": "global", "STUB_INDEX": SECRET}, f"{SECRET} none"),
    ({"STUB_SECTION": "install", "STUB_INDEX": SECRET}, f"{SECRET} none"),
    ({"PIP_INDEX_URL": SECRET, "UV_INDEX_URL": "https://a.example.com"}, "none https://a.example.com"),
    ({"PIP_INDEX_URL": SECRET, "UV_DEFAULT_INDEX": "https://b.example.com"}, "https://b.example.com none"),
])  # fmt: skip
def test_uv_asks_the_index_that_pip_is_led_to_unless_it_is_told_of_one(
    known: dict[str, str], index: str, tmp_path: Path
):  # fmt: skip
    said = set_up(tmp_path, **known)
    assert "with uv" in said
    assert (tmp_path / "bin/index").read_text().strip() == index
    assert "hush" not in said
