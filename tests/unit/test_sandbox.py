"""What a confined process can still do, tried from inside one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_house import ROOT
from workers.isolation import sandbox

INSIDE = """
import ctypes, json, os, resource, socket, subprocess, sys, threading
from pathlib import Path
from workers.isolation import sandbox

given, folder, other, parent = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), os.getppid()
os.environ["SECRET"] = "hush"
if sys.argv[4] == "free":
    walls = []
else:
    walls = sandbox.confine(read=[given], write=folder, memory_bytes=200 << 20, cpu_seconds=20, file_bytes=1 << 20)

def thread():
    started = threading.Thread(target=lambda: None)
    started.start()
    started.join()
    return "ended"

def attempt(work):
    try:
        return repr(work())[:80]
    except BaseException as error:
        return type(error).__name__

attempts = {
    "read what was given": given.read_text,
    "write its folder": lambda: (folder / "a").write_text("x"),
    "start a thread": thread,
    "read another file": other.read_text,
    "read the system's files": Path("/etc/passwd").read_text,
    "read the parent's environment": Path(f"/proc/{parent}/environ").read_bytes,
    "write what was given": lambda: given.write_text("x"),
    "write elsewhere": lambda: other.with_name("new").write_text("x"),
    "make a link": lambda: os.symlink("/etc/passwd", folder / "link"),
    "open a socket": lambda: socket.socket().close(),
    "open a pair of sockets": lambda: [one.close() for one in socket.socketpair()],
    "start a program": lambda: subprocess.run(["/bin/true"], check=False).returncode,
    "signal its parent": lambda: os.kill(parent, 0),
    "take much memory": lambda: len(bytearray(700 << 20)),
    "write a large file": lambda: (folder / "large").write_bytes(bytes(2 << 20)),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)),
    "know the environment": lambda: os.environ["SECRET"],
    "fork": lambda: os.fork() or os._exit(0),
}
found = {name: attempt(work) for name, work in attempts.items()}
(folder / "found.json").write_text(json.dumps([walls, found]))
"""
ALLOWED = {"read what was given", "write its folder", "start a thread"}
REFUSALS = {"PermissionError", "MemoryError", "OSError", "KeyError", "ValueError"}


def tried(tmp_path: Path, mode: str) -> tuple[list[str], dict[str, Any]]:
    """The walls, and what each attempt came to, inside a process that was confined."""
    given, folder, other = tmp_path / "given", tmp_path / "folder", tmp_path / "other"
    given.write_text("given")
    other.write_text("other")
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-P", "-c", INSIDE, given, folder, other, mode], check=True, cwd="/",
        env={"PYTHONPATH": str(ROOT)}, timeout=60,
    )  # fmt: skip
    walls, found = json.loads((folder / "found.json").read_text())
    return walls, found


def test_a_confined_process_reads_its_input_writes_its_folder_and_can_do_nothing_else(tmp_path: Path):
    walls, found = tried(tmp_path, "confined")
    if walls != ["limits", "capabilities", "files", "calls"]:
        pytest.fail(f"this system has only {walls}: run the tests on Linux 5.13 or later")
    assert {name for name, came in found.items() if came not in REFUSALS} == ALLOWED


def test_the_same_attempts_succeed_without_walls(tmp_path: Path):
    _, found = tried(tmp_path, "free")
    assert {name for name, came in found.items() if came in REFUSALS} <= {"raise a limit", "signal its parent"}


def test_python_s_own_folders_are_no_way_into_the_project():
    here = sandbox.Path(sandbox.__file__).resolve().parents[2]
    assert not any(here.is_relative_to(path) for path in sandbox._libraries())
