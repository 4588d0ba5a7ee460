"""Makes the clean environments that bundles are opened in: the loader alone, MLflow, and ONNX Runtime alone.

    python -m tests.bundles.environments FOLDER

Packages are those of the lock files, hashes checked; the loader is a wheel, built from its folder.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
"""Quicker than pip; not every machine has one."""
LOADER = ROOT / "trainhouse_loader"
SLIM = ("duckdb", "lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops", "xgboost-cpu")
ONNX = ("numpy", "onnxruntime")


def main(folder: Path) -> None:
    """Makes `slim`, `mlflow` and `onnx` in `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = built(Path(scratch))
        made(folder / "slim", locked(SLIM, Path(scratch, "slim.lock")), wheel)
        made(folder / "mlflow", ROOT / "requirements-mlflow.lock", wheel)
        made(folder / "onnx", locked(ONNX, Path(scratch, "onnx.lock")))


def built(scratch: Path) -> Path:
    """The loader's wheel; built from a copy, because a build leaves files beside what it builds."""
    copy = scratch / LOADER.name
    shutil.copytree(LOADER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if UV.exists():
        run(
            UV,
            "build",
            "--quiet",
            "--wheel",
            "--no-build-isolation",
            "--python",
            sys.executable,
            "--out-dir",
            scratch,
            copy,
        )
    else:
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check")
        run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", scratch, copy)
    (wheel,) = scratch.glob("*.whl")
    return wheel


def locked(names: Iterable[str], path: Path) -> Path:
    """A lock file at `path` of `names` and all that they need, as requirements.lock has them."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    wanted = needed(names)
    blocks = [block for block in re.split(r"\n(?=[a-z])", text) if block.split("==")[0] in wanted]
    path.write_text("\n".join(block.rstrip() for block in blocks) + "\n")
    return path


def needed(names: Iterable[str]) -> set[str]:
    """`names` with the packages that they need on this machine."""
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            asked = [Requirement(line) for line in requires(name) or []]
            waiting += [
                canonical(each.name) for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    return found


def canonical(name: str) -> str:
    """The name as lock files spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def made(venv: Path, lock: Path, wheel: Path | None = None) -> None:
    """An environment with what `lock` says, and `wheel`."""
    if UV.exists():
        run(UV, "venv", "--quiet", "--clear", "--python", sys.executable, venv)
        into = (UV, "pip", "install", "--quiet", "--python", venv / "bin" / "python")
    else:
        run(sys.executable, "-m", "venv", "--clear", venv)
        into = (venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*into, "--require-hashes", "-r", lock)
    if wheel is not None:
        run(*into, "--no-deps", wheel)


def run(*words: str | Path) -> None:
    """Runs a program, and ends where it fails."""
    subprocess.run([str(word) for word in words], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
