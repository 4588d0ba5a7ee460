"""A bundle proves itself: equal content gives equal bytes, and no other bytes are opened."""

import io
import random
import tomllib
import zipfile
from pathlib import Path

import pytest

import trainhouse_loader
from app.errors import DigestMismatch
from trainhouse_loader import archive
from trainhouse_loader.archive import MANIFEST, canonical_json, manifest_of, pack, unpack
from trainhouse_loader.bundle import open_bundle

FILES = {"model.txt": b"tree\n" * 50, "metadata.json": b"{}\n", "README": b""}


@pytest.fixture
def packed(tmp_path):
    pack(FILES, tmp_path / "bundle.zip")
    return tmp_path / "bundle.zip"


def test_equal_content_gives_equal_bytes_in_any_order(packed, tmp_path):
    pack(dict(reversed(FILES.items())), tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_what_was_packed_comes_back(packed):
    assert unpack(packed) == FILES


def test_the_manifest_covers_every_other_file(packed):
    with zipfile.ZipFile(packed) as archive:
        assert set(archive.namelist()) == {*FILES, MANIFEST}
        assert archive.read(MANIFEST) == canonical_json(manifest_of(FILES))


def test_every_flipped_byte_is_refused(packed):
    whole = packed.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        packed.write_bytes(changed)
        with pytest.raises(DigestMismatch):
            unpack(packed)


def test_cut_and_lengthened_files_are_refused(packed):
    whole = packed.read_bytes()
    for changed in (b"", whole[:-1], whole[: len(whole) // 2], whole + b"\0", b"\0" + whole):
        packed.write_bytes(changed)
        with pytest.raises(DigestMismatch):
            unpack(packed)


def test_noise_is_refused(tmp_path):
    for seed in range(50):
        (tmp_path / "noise.zip").write_bytes(b"PK\x03\x04" + random.Random(seed).randbytes(300))
        with pytest.raises(DigestMismatch):
            unpack(tmp_path / "noise.zip")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", "..", "", "C:\\evil", "a\nb", "-x"])
def test_only_plain_names_are_packed(tmp_path, name):
    with pytest.raises(ValueError, match="plain file name"):
        pack({name: b""}, tmp_path / "bundle.zip")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b"])
def test_paths_that_lead_elsewhere_are_refused(tmp_path, name):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, b"x")
        archive.writestr(MANIFEST, canonical_json(manifest_of({name: b"x"})))
    (tmp_path / "bundle.zip").write_bytes(made.getvalue())
    with pytest.raises(DigestMismatch):
        unpack(tmp_path / "bundle.zip")


def test_a_compressed_bomb_is_refused_unread(tmp_path):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", b"\0" * 50_000_000)
    (tmp_path / "bundle.zip").write_bytes(made.getvalue())
    with pytest.raises(DigestMismatch):
        unpack(tmp_path / "bundle.zip")


def test_a_bundle_of_another_format_says_which_loader_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "FORMAT", "trainhouse-bundle-9")
    pack(FILES, tmp_path / "later.zip")
    monkeypatch.undo()
    with pytest.raises(DigestMismatch, match="'trainhouse-bundle-9'") as refused:
        unpack(tmp_path / "later.zip")
    assert (refused.value.stable_code, "requirements.txt" in refused.value.hint) == ("unknown_format", True)


def test_the_loader_has_one_version():
    said = tomllib.loads((Path(trainhouse_loader.__file__).parent / "pyproject.toml").read_text())["project"]
    assert said["version"] == trainhouse_loader.__version__


def test_a_true_zip_of_something_else_is_no_bundle(packed):
    with pytest.raises(DigestMismatch):
        open_bundle(packed)
