"""The stack's data folder: its lock, its generated secrets, the ports it used last."""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from cryptography.fernet import Fernet


class AlreadyRunning(Exception):
    """Another supervisor holds this data folder."""


def prepare(folder: Path) -> Path:
    """Creates the data folder, closed to other accounts, and gives its absolute path.

    As root it can be traversed, because Postgres runs under another account; what is secret in it stays closed.
    """
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return folder


def lock(folder: Path) -> IO[str]:
    """Takes the folder for this process, until the returned file is closed or the process ends.

    Raises:
        AlreadyRunning: another process has it.
    """
    held = (folder / "lock").open("a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise AlreadyRunning(f"another trainhouse runs on {folder}; stop it, or give another --data-dir") from None
    return held


def write_private(path: Path, document: Mapping[str, Any]) -> None:
    """Writes JSON that only its owner can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, or an empty one where there is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def credentials(folder: Path) -> dict[str, str]:
    """The folder's secrets, generated the first time and kept in `secrets.json` (0600)."""
    path = folder / "secrets.json"
    if not path.exists():
        draft = folder / f"secrets.{secrets.token_hex(8)}.json"
        write_private(draft, _made())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another start was first: its secrets are the folder's
        except OSError:  # a file system without hard links
            draft.replace(path)
        draft.unlink(missing_ok=True)
    return {name: str(value) for name, value in json.loads(path.read_text()).items()}


def _made() -> dict[str, str]:
    return {
        "postgres_admin": secrets.token_urlsafe(24),
        "postgres": secrets.token_urlsafe(24),
        "redis": secrets.token_urlsafe(24),
        "s3_access_key": secrets.token_hex(10),
        "s3_secret_key": secrets.token_urlsafe(30),
        "secret_keys": Fernet.generate_key().decode(),
    }


def port_for(folder: Path, name: str, host: str = "127.0.0.1") -> int:
    """The port that `name` used last on this folder, or a free one where that is taken."""
    path = folder / "ports.json"
    known = read_json(path)
    port = known.get(name)
    if not isinstance(port, int) or not is_free(port, host):
        port = free_port(host)
        write_private(path, known | {name: port})
    return port


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
