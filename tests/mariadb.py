"""A real MariaDB for tests: the one on PATH, or Debian's package unpacked into .venv, which needs no root."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pymysql

from standalone.children import Child, ChildFailed, tail
from standalone.engine import HOST, Engine
from tests.tls import certify

HOME = Path(sys.prefix) / "mariadb"
PACKAGES = ("mariadb-server-core", "libaio1", "libaio1t64", "liburing2", "libnuma1")
"""The server, and libraries that it may need; the second and the third are one, by its names in Debian 12 and 13."""
PLACES = ("/usr/sbin", "/usr/libexec", "/usr/local/sbin", "/usr/local/libexec", "/opt/homebrew/bin")
SETUP = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")
HINT = "install MariaDB's server with this system's package manager (Debian: apt-get install mariadb-server-core)"


def program() -> tuple[Path, Path]:
    """`mariadbd`, and the folder with its messages and system tables.

    Raises:
        ChildFailed: there is none, and none can be fetched.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *PLACES))
    for name in ("mariadbd", "mysqld"):
        found = shutil.which(name, path=path)
        if found is not None and (shared := _shared(Path(found).resolve().parents[1])) is not None:
            return Path(found), shared
    unpacked = HOME / "usr" / "sbin" / "mariadbd"
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (HOME / "complete").exists():
            _fetch()
            (HOME / "complete").touch()
    shared = _shared(HOME / "usr")
    if shared is None:
        raise ChildFailed(f"the MariaDB in {HOME} has no system tables: remove that folder, or {HINT}")
    return unpacked, shared


def _shared(base: Path) -> Path | None:
    return next(
        (base / "share" / name for name in ("mysql", "mariadb") if (base / "share" / name / SETUP[0]).exists()), None
    )


def _fetch() -> None:
    """Debian's packages, in HOME; package lists are fetched into HOME too, where the system has none."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise ChildFailed(f"no mariadbd on PATH, and no apt-get to fetch it with: {HINT}")
    state = HOME / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    own = ["-o", f"Dir::State::lists={state}/lists", "-o", f"Dir::Cache={state}", "-o", "APT::Sandbox::User=root"]
    if _ran(["apt-get", "download", *PACKAGES[:1]]) is not None:
        failed = _ran(["apt-get", *own, "update"]) or _ran(["apt-get", *own, "download", *PACKAGES[:1]])
        if failed is not None:
            raise ChildFailed(f"MariaDB cannot be fetched: {HINT}\n{failed}")
    else:
        own = []
    for library in PACKAGES[1:]:  # those that this Debian names so; what is missing in the end, the server will say
        _ran(["apt-get", *own, "download", library])
    for package in sorted(HOME.glob("*.deb")):
        failed = _ran(["dpkg", "-x", str(package), str(HOME)])
        if failed is not None:
            raise ChildFailed(f"{package.name} cannot be unpacked\n{failed}")
        package.unlink()


def _ran(argv: list[str]) -> str | None:
    """None where the command went well, otherwise the end of what it said."""
    done = subprocess.run(argv, cwd=HOME, capture_output=True, text=True, check=False, timeout=300)
    return None if done.returncode == 0 else (done.stdout + done.stderr)[-2_000:]


class MariaDB(Engine):
    """MariaDB on a free port of 127.0.0.1; `root` may do everything, from there only."""

    name = "mariadb"
    stop_signal = signal.SIGTERM

    @property
    def password(self) -> str:
        """Root's."""
        return self.secrets["postgres_admin"]

    def admin(self, database: str | None = None) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        """A session that may do everything."""
        return pymysql.connect(
            host=HOST, port=self.port, user="root", password=self.password, database=database, autocommit=True,
            ssl_disabled=True, connect_timeout=2, charset="utf8mb4",
        )  # fmt: skip

    def prepared(self) -> Child:
        daemon, shared = program()
        libraries = ":".join(sorted({str(path.parent) for path in HOME.glob("**/lib*.so.*")}))
        environment = self.environment | ({"LD_LIBRARY_PATH": libraries} if libraries else {})
        common = [
            str(daemon), "--no-defaults", f"--datadir={self.data}", f"--basedir={daemon.parents[1]}",
            f"--lc-messages-dir={shared}", f"--character-sets-dir={shared / 'charsets'}", f"--tmpdir={self.folder}",
            "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--skip-log-bin",
            *(["--user=root"] if os.geteuid() == 0 else []),
        ]  # fmt: skip
        if not (self.data / "mysql").exists():
            self._create(common, shared, environment)
        shown = certify(self.folder, HOST, name=self.name)
        own = [
            f"--port={self.port}", f"--bind-address={HOST}", f"--socket={self.folder / 'm.sock'}", "--secure-file-priv=",
            f"--ssl-cert={shown.path}", f"--ssl-key={shown.key}",
        ]  # fmt: skip
        return Child(self.name, [*common, *own], self.folder, environment, death_signal=signal.SIGTERM)

    @property
    def authority(self) -> str:
        """The PEM certificate that the server shows, which signs itself."""
        return (self.folder / "mariadb.pem").read_text()

    def _create(self, common: list[str], shared: Path, environment: dict[str, str]) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        tables = "".join((shared / name).read_text(errors="replace") for name in SETUP)
        script = (
            f"create database mysql;\nuse mysql;\n{tables}\n"
            "delete from global_priv where user <> 'mariadb.sys';\nflush privileges;\n"
            f"grant all on *.* to root@'{HOST}' identified by '{self.password}' with grant option;\n"
        )
        made = subprocess.run([*common, "--bootstrap", "--skip-networking"], input=script, env=environment,
                              capture_output=True, text=True, check=False, timeout=120)  # fmt: skip
        if made.returncode != 0:
            raise ChildFailed(f"MariaDB's tables cannot be made\n{tail(made.stdout + made.stderr)}")

    def answers(self) -> bool:
        try:
            self.admin().close()
        except pymysql.Error:
            return False
        return True

    def variables(self) -> dict[str, str]:
        return {}
