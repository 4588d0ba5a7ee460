"""Confines the calling process for good: no network, no other program, few files, bounded memory, time and disk.

Each wall stands where the system has it (Linux on x86-64 and ARM; rlimits on every Unix), and is raised without a
library: resource limits, dropped capabilities, no new privileges, Landlock for files and signals, and a seccomp filter
for system calls. A process that was taken over can then read its own input and write its own folder, and nothing else.
"""

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 38, 22, 2
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
READ = 0b1100  # read a file, read a folder
WRITE = READ | 1 << 1 | 1 << 5 | 1 << 8  # write, remove and make plain files
TRUNCATE = 1 << 14
ON_FILES = 0b111 | TRUNCATE
HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""By the version of Landlock that brought them, all file accesses that it knows."""

MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
DENIED = [
    # name, x86-64, ARM; None where the machine has no such call
    ("socket", 41, 198), ("socketpair", 53, 199), ("fork", 57, None), ("vfork", 58, None), ("execve", 59, 221),
    ("execveat", 322, 281), ("kill", 62, 129), ("tkill", 200, 130), ("rt_sigqueueinfo", 129, 138), ("ptrace", 101, 117),
    ("process_vm_readv", 310, 270), ("process_vm_writev", 311, 271), ("pidfd_open", 434, 434), ("pidfd_getfd", 438, 438),
    ("pidfd_send_signal", 424, 424), ("unshare", 272, 97), ("setns", 308, 268), ("mount", 165, 40), ("bpf", 321, 280),
    ("perf_event_open", 298, 241), ("userfaultfd", 323, 282), ("add_key", 248, 217), ("request_key", 249, 218),
    ("keyctl", 250, 219), ("io_uring_setup", 425, 425), ("io_uring_enter", 426, 426), ("io_uring_register", 427, 427),
]  # fmt: skip
CLONE, CLONE3, CLONE_THREAD = (56, 220), 435, 0x10000
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x50000 | 1, 0x50000 | 38
LOAD, EQUAL, AT_LEAST, BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

OPEN_FILES = 64
SLACK_BYTES = 256 * 1024**2
"""Address space that threads and their allocators only reserve."""


def confine(
    *, read: Sequence[Path], write: Path, memory_bytes: int | None, cpu_seconds: int | None, file_bytes: int
) -> list[str]:
    """Raises every wall that this system has around the calling process, which must have one thread.

    Args:
        read: Files that may be read, besides Python's own libraries.
        write: The one folder in which files may be made.
        memory_bytes: Address space beyond the present.
        cpu_seconds: Processor time beyond the present.
        file_bytes: Size of any file that is written.

    Returns:
        The walls that stand, of `limits`, `capabilities`, `files`, `calls`.
    """
    _alone()
    _limit(memory_bytes, cpu_seconds, file_bytes)
    walls = ["limits"]
    if sys.platform != "linux":
        return walls
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    steps: list[tuple[str, Callable[[], bool]]] = [
        ("capabilities", lambda: _drop_capabilities(libc)),
        ("files", lambda: _fence_files(libc, read, write)),
        ("calls", lambda: _filter_calls(libc)),
    ]
    return walls + [name for name, step in steps if step()]


def _alone() -> None:
    """Keeps none of the parent's files and environment."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.closerange(3, 65_536)
    os.environ.clear()


def _limit(memory_bytes: int | None, cpu_seconds: int | None, file_bytes: int) -> None:
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: file_bytes, resource.RLIMIT_NOFILE: OPEN_FILES}
    if memory_bytes is not None:
        limits[resource.RLIMIT_AS] = _address_space() + SLACK_BYTES + memory_bytes
    if cpu_seconds is not None:
        limits[resource.RLIMIT_CPU] = cpu_seconds + int(sum(os.times()[:2])) + 1
    for which, value in limits.items():
        last = value + 5 if which == resource.RLIMIT_CPU else value  # at the first, a signal says which limit it was
        with contextlib.suppress(ValueError, OSError):  # a lower limit of the system's own stands
            resource.setrlimit(which, (value, last))
    with contextlib.suppress(OSError):  # where memory runs short, the kernel ends this process before its worker
        Path("/proc/self/oom_score_adj").write_text("1000")


def _address_space() -> int:
    """The present size of the process's address space, in bytes; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def die_with_parent() -> None:
    """Lets the kernel end this process with the one that forked it (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _drop_capabilities(libc: ctypes.CDLL) -> bool:
    """A process of the super-user, too, keeps to its limits then."""
    header, nothing = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    return bool(libc.capset(header, nothing) == 0)


def _fence_files(libc: ctypes.CDLL, read: Sequence[Path], write: Path) -> bool:
    """Landlock: files outside `read`, `write` and Python's libraries are out of reach, and so are other processes."""
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    handled = next(accesses for since, accesses in sorted(HANDLED.items(), reverse=True) if version >= since)
    attributes = struct.pack("=QQQ", handled, 0b11, 0b11)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    for path in [*_libraries(), *read]:
        _allow(libc, ruleset, path, READ & handled)
    _allow(libc, ruleset, write, (WRITE | TRUNCATE) & handled)
    return bool(libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)


def _libraries() -> list[Path]:
    """Where Python and the system keep their own files; never a working folder, whatever `sys.path` says."""
    kept = {path for name, path in sysconfig.get_paths().items() if name.endswith(("stdlib", "lib"))}
    shared = (f"{sys.base_prefix}/lib", "/usr/share/zoneinfo", "/lib", "/usr/lib", "/lib64", os.devnull)
    return [Path(step) for step in (*sorted(kept), *shared)]


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, accesses: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rule = struct.pack("=Qi", accesses if path.is_dir() else accesses & ON_FILES, opened)
    libc.syscall(LANDLOCK_ADD_RULE, ruleset, 1, rule, 0)
    os.close(opened)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _filter_calls(libc: ctypes.CDLL) -> bool:
    """Seccomp: no socket, no program, no child but threads, no look into other processes."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return False
    steps = _filter(*machine)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _filter(architecture: int, column: int) -> list[tuple[int, int, int, int]]:
    """The filter as (code, steps ahead if true, if false, value); arguments are read from `struct seccomp_data`."""
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    if column == 0:  # the second, 32-bit numbering of x86-64
        steps += [(AT_LEAST, 0, 1, 0x4000_0000), (RETURN, 0, 0, KILL)]
    for _name, *numbers in DENIED:
        number = numbers[column]
        if number is not None:
            steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, EPERM)]
    # clone3 keeps its flags in memory, where a filter cannot look; without it the C library takes clone
    steps += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, ENOSYS)]
    steps += [(EQUAL, 0, 3, CLONE[column]), (LOAD, 0, 0, 16), (BITS, 1, 0, CLONE_THREAD), (RETURN, 0, 0, EPERM)]
    return [*steps, (RETURN, 0, 0, ALLOW)]
