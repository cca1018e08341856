"""Archives: the wanted file comes out whole, a hostile or damaged archive leaves nothing behind."""

from __future__ import annotations

import io
import random
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from pertharness.contract.errors import FetchError
from pertharness.host.fetch.archive import extract_member

WANTED = "perturb_processed.h5ad"
BODY = random.Random(0).randbytes(100_000)


def make_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in entries.items():
            archive.writestr(name, body)
    return path


def make_tar(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, body in entries:
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return path


def tar_entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def assert_refused(archive: Path, reason: str) -> None:
    """Nothing is written: not the target, not a temporary file, nothing beside the folder."""
    before = sorted(archive.parent.rglob("*"))
    target = archive.parent / "out" / WANTED
    with pytest.raises(FetchError, match=reason):
        extract_member(archive, WANTED, target)
    assert [path for path in sorted(archive.parent.rglob("*")) if path.name != "out"] == before


@pytest.mark.parametrize("name", [WANTED, f"norman/{WANTED}", f"a/b/{WANTED}", f"norman\\{WANTED}"])
def test_zip_member_is_found_in_any_folder(tmp_path: Path, name: str) -> None:
    archive = make_zip(tmp_path / "a.zip", {"norman/readme.txt": b"hello", name: BODY, f"__MACOSX/._{WANTED}": b"x"})
    extract_member(archive, WANTED, tmp_path / "new" / "out.h5ad")
    assert (tmp_path / "new" / "out.h5ad").read_bytes() == BODY


def test_tar_member_is_found_in_any_folder(tmp_path: Path) -> None:
    folder = tar_entry("data", tarfile.DIRTYPE)
    archive = make_tar(tmp_path / "a.tar.gz", [(folder, b""), (tar_entry(f"data/{WANTED}"), BODY)])
    extract_member(archive, WANTED, tmp_path / WANTED)
    assert (tmp_path / WANTED).read_bytes() == BODY


def test_absent_member_is_an_error_that_lists_what_is_there(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"norman/other.h5ad": b"x"})
    assert_refused(archive, "holds no file named 'perturb_processed.h5ad'.*'norman/other.h5ad'")


def test_two_files_of_the_wanted_name_are_an_error(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {f"a/{WANTED}": b"x", f"b/{WANTED}": b"y"})
    assert_refused(archive, f"holds 2 file.*'a/{WANTED}', 'b/{WANTED}'")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"../../{WANTED}", "leads out"),
        (f"a/../../{WANTED}", "leads out"),
        (f"..\\{WANTED}", "leads out"),
        ("../evil.txt", "leads out"),
        (f"/etc/{WANTED}", "absolute path"),
        (f"C:\\{WANTED}", "absolute path"),
    ],
)
def test_unsafe_paths_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    assert_refused(make_zip(inner / "a.zip", {name: b"x", f"good/{WANTED}": BODY}), reason)
    (inner / "a.zip").unlink()
    entries = [(tar_entry(name), b"x"), (tar_entry(f"good/{WANTED}"), BODY)]
    assert_refused(make_tar(inner / "a.tar.gz", entries), reason)
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    assert_refused(make_tar(tmp_path / "a.tar.gz", [(tar_entry(WANTED, kind, "/etc/passwd"), b"")]), "link or a device")


def test_symlink_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo(WANTED)
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert_refused(tmp_path / "a.zip", "link or a device")


def test_encrypted_entry_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {WANTED: b"secret"})
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1  # general purpose flag, bit 0, in the local header ...
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # ... and in the central directory (APPNOTE 4.3.7, 4.3.12)
    archive.write_bytes(raw)
    assert_refused(archive, "is encrypted")


def test_bombs_are_refused(tmp_path: Path) -> None:
    # 20 MB of zeros deflate to about 20 kB: 1000 to 1, more than the allowed 200 to 1.
    zeros = bytes(20_000_000)
    assert_refused(make_zip(tmp_path / "a.zip", {WANTED: zeros}), "more than 200 times")
    (tmp_path / "a.zip").unlink()
    assert_refused(
        make_tar(tmp_path / "a.tar.gz", [(tar_entry("zeros"), zeros), (tar_entry(WANTED), b"x")]), "200 times"
    )


def test_small_file_of_zeros_is_no_bomb(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {WANTED: bytes(1_000_000)})
    extract_member(archive, WANTED, tmp_path / WANTED)
    assert (tmp_path / WANTED).stat().st_size == 1_000_000


@pytest.mark.parametrize("declared", [50_000, 200_000])
def test_entry_that_is_not_of_its_declared_size_is_refused(tmp_path: Path, declared: int) -> None:
    archive = make_zip(tmp_path / "a.zip", {WANTED: BODY})
    raw = bytearray(archive.read_bytes())
    struct.pack_into("<I", raw, raw.index(b"PK\x01\x02") + 24, declared)  # uncompressed size, APPNOTE 4.3.12
    archive.write_bytes(raw)
    assert_refused(archive, "damaged")


def test_entry_larger_than_the_free_disk_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    info = tar_entry(WANTED)
    info.size = (2 * shutil.disk_usage(tmp_path).free) // 512 * 512
    with archive.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + info.size + 1024)  # a hole: it takes no room itself
    assert_refused(archive, rf"needs {info.size} bytes, .* free")


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.99])
@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_cut_archive_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    archive = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        make_zip(archive, {WANTED: BODY})
    else:
        make_tar(archive, [(tar_entry(WANTED), BODY)])
    archive.write_bytes(archive.read_bytes()[: int(kept * archive.stat().st_size)])
    assert_refused(archive, "damaged|not a complete zip or tar file")


def test_flipped_byte_is_noticed(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr(WANTED, BODY)
    raw = bytearray(archive.read_bytes())
    raw[5000] ^= 1
    archive.write_bytes(raw)
    assert_refused(archive, "damaged.*CRC")


def test_other_kind_of_file_is_an_error_that_shows_it(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<html>sorry</html>")
    assert_refused(tmp_path / "a.zip", "begins with b'<html>sorry")
