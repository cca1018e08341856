"""The folder of published files without a network: files put there by hand, checksums, messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from hashlib import md5, sha256
from pathlib import Path

import pytest
from pertharness.contract.cards import RemoteFile
from pertharness.contract.errors import FetchError
from pertharness.host.fetch import Patience, default_folder, fetch, local_file
from pertharness.host.fetch.checksums import record, recorded

NOWHERE = "http://127.0.0.1:9/a"
ONCE = Patience(tries=1, backoff_s=0.0, connect_s=1, read_s=1)
ZIP = RemoteFile(url=NOWHERE, filename="norman.zip", member="perturb.h5ad")
H5AD = b"\x89HDF\r\n\x1a\n and so on"


def put(path: Path, body: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def put_zip(path: Path, body: bytes = H5AD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("norman/perturb.h5ad", body)
    return path


def test_default_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERTHARNESS_DATA", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("PERTHARNESS_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    if sys.platform == "linux":
        assert default_folder() == tmp_path / "share" / "pertharness" / "data"


def test_member_put_there_by_hand_is_used_and_recorded(tmp_path: Path) -> None:
    path = put(tmp_path / "norman" / "perturb.h5ad", H5AD)
    assert fetch(ZIP, name="norman", folder=tmp_path) == path
    entry = recorded(path, tmp_path)
    assert entry is not None
    assert (entry.sha256, entry.size, entry.url) == (sha256(H5AD).hexdigest(), len(H5AD), NOWHERE)


def test_archive_put_there_by_hand_is_unpacked_and_both_are_recorded(tmp_path: Path) -> None:
    archive = put_zip(tmp_path / "norman" / "norman.zip")
    assert local_file(ZIP, "norman", tmp_path) is None
    path = fetch(ZIP, name="norman", folder=tmp_path)
    assert path.read_bytes() == H5AD
    assert local_file(ZIP, "norman", tmp_path) == path
    assert recorded(archive, tmp_path)
    assert recorded(path, tmp_path)
    assert archive.exists()


def test_file_that_changed_after_its_first_use_is_an_error(tmp_path: Path) -> None:
    path = put(tmp_path / "norman" / "perturb.h5ad", H5AD)
    fetch(ZIP, name="norman", folder=tmp_path)
    path.write_bytes(H5AD + b"!")
    sums = f"{sha256(H5AD + b'!').hexdigest()}.*{sha256(H5AD).hexdigest()}"
    with pytest.raises(FetchError, match=f"{path} has changed: .*{sums}.*`pertharness data fetch norman --again`"):
        fetch(ZIP, name="norman", folder=tmp_path)


def test_pinned_sum_holds_for_files_put_there_by_hand(tmp_path: Path) -> None:
    path = put(tmp_path / "m" / "a.bin", b"wrong")
    source = RemoteFile(url=NOWHERE, filename="a.bin", sha256=sha256(b"right").hexdigest())
    with pytest.raises(FetchError, match=f"{path} is not the expected file"):
        fetch(source, name="m", folder=tmp_path)
    path.write_bytes(b"right")
    assert fetch(source, name="m", folder=tmp_path) == path


def test_a_published_md5_holds_for_the_first_file_and_not_for_what_is_unpacked(tmp_path: Path) -> None:
    path = put(tmp_path / "m" / "a.bin", b"wrong")
    source = RemoteFile(url=NOWHERE, filename="a.bin", md5=md5(b"right").hexdigest().upper())
    with pytest.raises(FetchError, match=f"{path} is not the expected file: its md5 is {md5(b'wrong').hexdigest()}"):
        fetch(source, name="m", folder=tmp_path)
    assert not (tmp_path / "checksums.json").exists()
    path.write_bytes(b"right")
    assert fetch(source, name="m", folder=tmp_path) == path
    archive = ZIP.model_copy(update={"md5": md5(b"").hexdigest()})
    unpacked = put(tmp_path / "n" / archive.wanted, H5AD)
    assert fetch(archive, name="n", folder=tmp_path) == unpacked


def test_new_pin_outweighs_an_old_record(tmp_path: Path) -> None:
    path = put(tmp_path / "m" / "a.bin", b"old")
    fetch(RemoteFile(url=NOWHERE, filename="a.bin"), name="m", folder=tmp_path)
    path.write_bytes(b"new")
    pinned = RemoteFile(url=NOWHERE, filename="a.bin", sha256=sha256(b"new").hexdigest())
    assert fetch(pinned, name="m", folder=tmp_path) == path


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("norman.zip", b"<html>", r"norman.zip is a web page, not a .zip file: it begins with b'<html>' \(6 bytes\)"),
        ("norman.zip", b"PK, but cut", r"cannot be unpacked: .*not a complete zip[\s\S]*put a good copy there"),
        ("perturb.h5ad", b"PK", "perturb.h5ad is not a .h5ad file"),
        ("perturb.h5ad", b"", "perturb.h5ad is not a .h5ad file: it is empty"),
    ],
)
def test_wrong_file_put_there_by_hand_is_told_and_not_recorded(
    tmp_path: Path, name: str, body: bytes, message: str
) -> None:
    path = put(tmp_path / "norman" / name, body)
    with pytest.raises(FetchError, match=message):
        fetch(ZIP, name="norman", folder=tmp_path)
    assert recorded(path, tmp_path) is None


@pytest.mark.parametrize(
    ("name", "filename", "member"),
    [
        ("..", "a", None),
        ("m", "../a", None),
        ("m", "a.zip", "x/y"),
        ("m/../..", "a", None),
        ("m", "", None),
        ("m", "a", "."),
    ],
)
def test_names_that_lead_out_of_the_folder_are_refused(
    tmp_path: Path, name: str, filename: str, member: str | None
) -> None:
    with pytest.raises(FetchError, match="not a plain file name"):
        fetch(RemoteFile(url=NOWHERE, filename=filename, member=member), name=name, folder=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_shared_folder_may_be_read_only(tmp_path: Path) -> None:
    path = put(tmp_path / "norman" / "perturb.h5ad", H5AD)
    fetch(ZIP, name="norman", folder=tmp_path)
    for folder in (path.parent, tmp_path):
        folder.chmod(0o555)
    try:
        assert fetch(ZIP, name="norman", folder=tmp_path) == path
    finally:
        for folder in (tmp_path, path.parent):
            folder.chmod(0o755)


def test_second_use_writes_nothing(tmp_path: Path) -> None:
    put(tmp_path / "norman" / "perturb.h5ad", H5AD)
    fetch(ZIP, name="norman", folder=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    fetch(ZIP, name="norman", folder=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    blocker = put(tmp_path / "file", b"")
    with pytest.raises(FetchError, match=r"Not a directory, while fetching 'norman'; .* PERTHARNESS_DATA"):
        fetch(ZIP, name="norman", folder=blocker, patience=ONCE)


def test_damaged_checksums_are_told_not_replaced(tmp_path: Path) -> None:
    put(tmp_path / "norman" / "perturb.h5ad", H5AD)
    sums = put(tmp_path / "checksums.json", b'{"format": 1, "files": {"a"')
    with pytest.raises(FetchError, match=f"{sums} is not a list of checksums"):
        fetch(ZIP, name="norman", folder=tmp_path)
    assert sums.read_bytes() == b'{"format": 1, "files": {"a"'


def test_records_are_sorted_and_an_unchanged_one_keeps_its_date(tmp_path: Path) -> None:
    for name in ("b", "a"):
        record(put(tmp_path / name, b"x"), tmp_path, sha256="0" * 64, url=NOWHERE)
    text = (tmp_path / "checksums.json").read_text()
    assert list(json.loads(text)["files"]) == ["a", "b"]
    (tmp_path / "checksums.json").write_text(text.replace("20", "19", 1))  # the year of the date
    before = (tmp_path / "checksums.json").read_text()
    record(tmp_path / "a", tmp_path, sha256="0" * 64, url=NOWHERE)
    assert (tmp_path / "checksums.json").read_text() == before


def test_without_the_extra_the_message_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['requests'] = None\n"  # what an import finds that is not installed
        "from pathlib import Path\n"
        "from pertharness.contract.cards import RemoteFile\n"
        "from pertharness.contract.errors import FetchError\n"
        "from pertharness.host.fetch import fetch\n"
        "try: fetch(RemoteFile(url='http://x/a', filename='a.bin'), name='m', folder=Path(sys.argv[1]))\n"
        "except FetchError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert "pip install 'pertharness[fetch]'" in done.stdout
    assert f"as {tmp_path}/m/a.bin, then rerun." in done.stdout


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, pertharness.host.fetch, pertharness.host.cli.data;"
        "print(sorted({'requests', 'urllib3', 'rich', 'pandas', 'anndata', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
