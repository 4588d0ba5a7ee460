"""An environment for each peer, from its pinned list, and Java for H2O.

    python -m benchmarks.peers.environments flaml h2o autogluon optuna

An environment is made anew when its list has changed. Where pip is told of local wheels, uv is told of them too, so that
a build of torch without CUDA is taken where there is one. Without Java on the PATH, Debian's package is unpacked beside
the environments; that needs no root.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
VENVS = HERE / ".venvs"
PEERS = ("flaml", "h2o", "autogluon", "optuna")
JAVA = VENVS / "java"
JAVA_PACKAGES = ("openjdk-17-jre-headless", "openjdk-21-jre-headless")
"""Those that H2O 3.46 runs on; a release of Debian has one of them."""


class CannotInstall(Exception):
    """An environment could not be made; the message says which, and what was said."""


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment."""
    return VENVS / peer / "bin" / "python"


def is_made(peer: str) -> bool:
    """Whether `peer` can be run: its environment is that of its present list, and Java is there for H2O."""
    stamp = VENVS / peer / ".installed"
    return stamp.exists() and stamp.read_text() == _wanted(peer) and (peer != "h2o" or _java() is not None)


def ensure(peer: str) -> None:
    """Makes the environment of `peer` where there is none of its present list.

    Raises:
        CannotInstall: a package is not to be had.
    """
    stamp = VENVS / peer / ".installed"
    if not stamp.exists() or stamp.read_text() != _wanted(peer):
        listed = HERE / f"{peer}.txt"
        print(f"installing {peer} from {listed.name}", flush=True)
        _install(VENVS / peer, listed)
        stamp.write_text(_wanted(peer))
    if peer == "h2o" and _java() is None:
        if not shutil.which("apt-get"):
            raise CannotInstall("H2O needs Java 17 or 21 on the PATH; there is none, and no apt-get to get it with")
        _unpack_java()


def _wanted(peer: str) -> str:
    return hashlib.sha256((HERE / f"{peer}.txt").read_bytes()).hexdigest()


def _install(venv: Path, listed: Path) -> None:
    uv = Path(sys.executable).parent / "uv"
    if uv.exists():
        _run([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)])
        into = [str(uv), "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")]
    else:
        _run([sys.executable, "-m", "venv", "--clear", str(venv)])
        into = [str(venv / "bin" / "pip"), "install", "--quiet"]
    _run([*into, "-r", str(listed)])


def _run(command: list[str], cwd: Path | None = None) -> None:
    known = dict(os.environ)
    if "PIP_FIND_LINKS" in known:
        known.setdefault("UV_FIND_LINKS", known["PIP_FIND_LINKS"])
    done = subprocess.run(command, cwd=cwd, env=known, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotInstall(f"{' '.join(command)}\n{done.stderr[-2000:]}")


def java_path() -> str:
    """The PATH on which `java` is found, where it is anywhere."""
    path, java = os.environ.get("PATH", ""), _java()
    return path if java is None else os.pathsep.join([str(java.parent), path])


def _java() -> Path | None:
    """The Java on the PATH, or the unpacked one."""
    found = shutil.which("java")
    return Path(found) if found else next(JAVA.glob("usr/lib/jvm/*/bin/java"), None)


def _unpack_java() -> None:
    with tempfile.TemporaryDirectory() as folder:
        said = ""
        for package in JAVA_PACKAGES:
            try:
                print(f"unpacking Debian's {package}", flush=True)
                _run(["apt-get", "download", package], cwd=Path(folder))
            except CannotInstall as error:
                said = str(error)
                continue
            shutil.rmtree(JAVA, ignore_errors=True)
            _run(["dpkg", "-x", str(next(Path(folder).glob("*.deb"))), str(JAVA)])
            _relink(JAVA)
            return
    raise CannotInstall(f"Debian has none of {', '.join(JAVA_PACKAGES)} for this machine; apt-get update?\n{said}")


def _relink(root: Path) -> None:
    """Lets links to /etc, where the package keeps its settings, lead into the unpacked tree."""
    for link in [path for path in root.rglob("*") if path.is_symlink()]:
        target = link.readlink()
        if target.is_absolute() and (inside := root / target.relative_to("/")).exists():
            link.unlink()
            link.symlink_to(inside.resolve())


def main() -> None:
    """Makes the environments that are named."""
    for peer in sys.argv[1:]:
        try:
            ensure(peer)
        except CannotInstall as error:
            raise SystemExit(f"{peer}: {error}") from None


if __name__ == "__main__":
    main()
