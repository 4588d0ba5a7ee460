"""The commands that need no service: what they are given reaches the check, and its answer the shell."""

import base64
import json
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.receipts import public_text, signed
from app.storage import file_digest
from standalone.cli import cli
from tests.unit.test_pinned import decided
from tests.unit.test_receipts import KEY, chain_of

__all__ = ["decided"]
OTHER = base64.b64encode(b"\1" * 32).decode()


def run(*argv: str | Path) -> tuple[int, str]:
    """`trainhouse` with these arguments: its exit code, and what it said."""
    done = CliRunner().invoke(cli, [str(each) for each in argv])
    return done.exit_code, done.output


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    """A chain of three receipts in one file."""
    path = tmp_path / "receipts.json"
    path.write_text(json.dumps(chain_of(3)))
    return path


def test_the_version_is_that_of_the_installation() -> None:
    assert run("version") == (0, version("trainhouse") + "\n")


def test_receipts_are_verified_in_one_file_or_in_several(receipts: Path, tmp_path: Path) -> None:
    code, said = run("verify", receipts)
    assert (code, said.count("ok ")) == (0, 3)
    assert "or give it with --key" in said
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path, receipt in zip(paths, chain_of(3), strict=True):
        path.write_text(json.dumps(receipt))
    assert run("verify", *paths) == (code, said)
    assert run("verify", *reversed(paths))[0] == 1
    assert run("verify", tmp_path / "nowhere.json")[0] == 2
    assert run("verify")[0] == 2


def test_the_key_that_is_named_must_have_signed(receipts: Path) -> None:
    code, said = run("verify", receipts, "--key", public_text(KEY.public_key()))
    assert (code, "--key" in said) == (0, False)
    code, said = run("verify", receipts, "--key", OTHER)
    assert (code, said.startswith("BROKEN ")) == (1, True)


def test_the_bundle_is_that_of_the_receipt_or_is_not(tmp_path: Path) -> None:
    bundle, other = tmp_path / "bundle.zip", tmp_path / "other.zip"
    bundle.write_bytes(b"a bundle")
    other.write_bytes(b"another")
    document = {**chain_of(1)[0]["document"], "bundle": {"digest": file_digest(bundle)}}
    receipt = tmp_path / "receipt.json"
    receipt.write_text(json.dumps(signed(document, KEY)))
    code, said = run("verify", receipt, "--bundle", bundle)
    assert (code, "ok      bundle.zip is the bundle" in said) == (0, True)
    code, said = run("verify", receipt, "--bundle", other)
    assert (code, "BROKEN  other.zip" in said) == (1, True)


def test_the_verdict_is_computed_again_from_the_rows_that_are_named(decided, tmp_path: Path) -> None:
    document, rows = decided
    receipt = tmp_path / "receipt.json"
    receipt.write_text(json.dumps(signed(document, KEY)))
    code, said = run("verify", receipt, "--recompute", rows)
    assert (code, "come out the same again" in said) == (0, True)
    code, said = run("verify", receipt, "--recompute", receipt)
    assert (code, "BROKEN  receipt.json has the digest" in said) == (1, True)
