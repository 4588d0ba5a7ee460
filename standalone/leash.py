"""Executes a command on a leash: the kernel ends it when the process that started it has ended.

Run as a script, with the standard library alone: `python -I -S leash.py '{"parent": 1, …}' COMMAND …`. The leash is
Linux's parent-death signal, which is tied to the *thread* that started the child; start children from a thread that
lives as long as the process. Elsewhere the command simply runs.
"""

import ctypes
import json
import os
import pwd
import sys

PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
"""The narrower one is not among those that containers usually have."""
CAPABILITY_VERSION_3 = 0x20080522


class CapabilityHeader(ctypes.Structure):
    """`struct __user_cap_header_struct` of capset(2)."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class CapabilityData(ctypes.Structure):
    """`struct __user_cap_data_struct` of capset(2)."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def become(account: str, *, reach: bool) -> None:
    """Gives up root for `account`; with `reach` it may still read and traverse folders that are closed to it.

    A checkout below /root is closed to every other account. Opening it with chmod would change a machine that is not
    ours, so one capability is kept across the exec instead. The secure bit makes access(2) honour it.
    """
    entry = pwd.getpwnam(account)
    kept = None
    if reach:
        kept = CAP_DAC_READ_SEARCH if 1 << CAP_DAC_READ_SEARCH & permitted() else CAP_DAC_OVERRIDE
        require(libc().prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    if kept is not None:
        keep, bit = (CapabilityData * 2)(), 1 << kept
        keep[0] = CapabilityData(bit, bit, bit)
        require(libc().capset(ctypes.byref(CapabilityHeader(CAPABILITY_VERSION_3, 0)), keep))
        require(libc().prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept, 0, 0))


def permitted() -> int:
    """The capabilities that this process may use, one bit each."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123  # a light start
        return next((int(line.split()[1], 16) for line in status if line.startswith("CapPrm:")), 0)


def require(failed: int) -> None:
    """Ends this process with a word for people, where a call of the kernel has failed."""
    if failed:
        sys.exit(
            f"{os.strerror(ctypes.get_errno())}: this account's folder is closed to others, and root may not keep the right "
            "to reach into it here. Put the checkout and --data-dir where every account may go, or run as another account."
        )


def tie(parent: int, death_signal: int) -> None:
    """Asks the kernel for `death_signal` at the parent's end; exits at once where the parent is gone already."""
    if sys.platform == "linux":
        libc().prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)


def libc() -> ctypes.CDLL:
    """The C library of this process."""
    return ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Reads what is wanted from the first argument, then becomes the command in the others."""
    wanted = json.loads(sys.argv[1])
    if wanted["account"]:
        become(wanted["account"], reach=wanted["reach"])
    tie(wanted["parent"], wanted["death_signal"])  # last: a change of account undoes it
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()
