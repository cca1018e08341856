"""Files that a person brings: what they are is checked before their sum is recorded, and the steps are shown."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pertharness.contract.cards import RemoteFile
from pertharness.contract.errors import FetchError
from pertharness.host.fetch import ByHandError, fetch, place_of
from pertharness.host.fetch.checksums import recorded
from pertharness.host.plugins.weights import Declared, bring, examine

PAGE = "http://127.0.0.1:9/folders/whole-human"
COMMAND = "pertharness weights fetch deep"
BROWSER = b"\xef\xbb\xbf\n<!DOCTYPE html><html><head><title>Virus scan warning</title>"


def declared(name: str = "best_model.pt", **fields: Any) -> Declared:
    usual = {
        "url": PAGE, "filename": name, "licence": "MIT", "by_hand": f"open the folder whole-human, download {name}",
    }  # fmt: skip
    return Declared("deep", "deep", RemoteFile.model_validate({**usual, **fields}))


def put(folder: Path, body: bytes, name: str = "best_model.pt") -> Path:
    path = folder / "weights" / "deep" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def torch_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("best_model/data.pkl", b"\x80\x02}.")
        archive.writestr("best_model/data/0", bytes(4000))
    return buffer.getvalue()


def safetensors(n_bytes: int = 64) -> bytes:
    header = {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(n_bytes)


def test_a_file_without_a_direct_link_is_not_fetched_and_every_step_is_named(tmp_path: Path) -> None:
    steps = (
        f"open {PAGE} in a browser; open the folder whole-human, download best_model.pt; put the file, as "
        f"'best_model.pt', into the folder {tmp_path / 'weights' / 'deep'}; then `{COMMAND}` checks it and records its "
        "sha256"
    )
    found = examine(declared(), tmp_path, tmp_path)
    assert found.condition == "missing"
    assert found.reason == f"needs the file 'best_model.pt', which is not available: {steps}"
    for again in (False, True):
        with pytest.raises(ByHandError, match="has no open direct link: open http") as error:
            bring(declared(), tmp_path, again=again)
        assert str(error.value).endswith(steps)


@pytest.mark.parametrize(("name", "body"), [
    ("best_model.pt", torch_zip()), ("best_model.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
    ("m.safetensors", safetensors()), ("vocab.json", b'{"<pad>": 0}'), ("genes.tsv", b"<pad>\t0\n"),
    ("page.html", BROWSER),
])  # fmt: skip
def test_a_whole_file_that_was_put_there_is_recorded_at_its_first_use(name: str, body: bytes, tmp_path: Path) -> None:
    path = put(tmp_path, body, name)
    found = examine(declared(name), tmp_path, tmp_path)
    assert (found.condition, found.sha256) == ("available", sha256(body).hexdigest()), found.reason
    entry = recorded(path, tmp_path)
    assert entry is not None
    assert (entry.sha256, entry.url) == (found.sha256, PAGE)
    assert bring(declared(name), tmp_path) == path


@pytest.mark.parametrize(("name", "body", "message"), [
    ("best_model.pt", BROWSER, r"is a web page, not a \.pt file"),
    ("genes.csv", b"<?xml version='1.0'?>\n<html xmlns='x'>", r"is a web page, not a \.csv file"),
    ("noname", b"  <HTML>", "is a web page, not a data file"),
    ("best_model.pt", b"version https://git-lfs", r"is not a \.pt file: it begins with b'version"),
    ("best_model.pt", b"", "it is empty"),
    ("best_model.pt", torch_zip()[:-30], "is cut short: it begins as a zip and has no end of one"),
    ("m.npz", torch_zip()[:2000], "is cut short"),
    ("m.safetensors", safetensors(63), r"is not whole: it has \d+ bytes, its header states \d+"),
    ("m.safetensors", safetensors(65), "is not whole"),
    ("m.safetensors", b"\xff" * 20, "is not a safetensors file"),
    ("m.safetensors", struct.pack("<Q", 2) + b"[]", "is not a safetensors file"),
    ("m.safetensors", b"abc", "is not a safetensors file"),
])  # fmt: skip
def test_what_is_no_such_file_is_refused_and_not_recorded(name: str, body: bytes, message: str, tmp_path: Path) -> None:
    path = put(tmp_path, body, name)
    found = examine(declared(name), tmp_path, tmp_path)
    assert found.condition == "damaged"
    with pytest.raises(FetchError, match=message) as error:
        bring(declared(name), tmp_path)
    assert str(error.value) == found.reason
    assert recorded(path, tmp_path) is None


def test_the_steps_follow_a_web_page_in_place_of_weights(tmp_path: Path) -> None:
    put(tmp_path, BROWSER)
    reason = examine(declared(), tmp_path, tmp_path).reason
    assert f"bring it again: open {PAGE} in a browser; open the folder whole-human" in reason
    direct = examine(declared(by_hand=""), tmp_path, tmp_path).reason
    assert f"`{COMMAND} --again` fetches it again. " in direct
    assert f"save {PAGE} as" in direct


def test_a_size_far_from_the_card_is_refused_until_the_sum_is_known(tmp_path: Path) -> None:
    path = put(tmp_path, torch_zip())
    reason = examine(declared(size_mb=205.3), tmp_path, tmp_path).reason
    assert f"has {path.stat().st_size} bytes, expected about 205.3 MB; bring it again" in reason
    assert recorded(path, tmp_path) is None
    pinned = sha256(path.read_bytes()).hexdigest()
    assert examine(declared(size_mb=205.3, sha256=pinned), tmp_path, tmp_path).condition == "available"
    wrong = examine(declared(size_mb=205.3, sha256="0" * 64), tmp_path, tmp_path)
    assert "is not the expected file: its sha256" in wrong.reason


def test_a_changed_file_is_refused_until_the_user_says_that_it_is_meant(tmp_path: Path) -> None:
    path = put(tmp_path, torch_zip())
    bring(declared(), tmp_path)
    path.write_bytes(torch_zip() + b"PK\x05\x06" + bytes(18))
    assert "is incomplete" in examine(declared(), tmp_path, tmp_path).reason
    assert bring(declared(), tmp_path, again=True) == path
    entry = recorded(path, tmp_path)
    assert entry is not None
    assert entry.sha256 == sha256(path.read_bytes()).hexdigest()
    assert examine(declared(), tmp_path, tmp_path).condition == "available"


def test_an_archive_that_was_put_there_is_unpacked_and_a_new_one_again(tmp_path: Path) -> None:
    def zipped(content: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("deep/best_model.pt", content)
        return buffer.getvalue()

    file = declared("deep.zip", member="best_model.pt")
    first, second = torch_zip(), b"\x80\x02}."
    put(tmp_path, zipped(first), "deep.zip")
    assert bring(file, tmp_path).read_bytes() == first
    put(tmp_path, zipped(second), "deep.zip")
    assert bring(file, tmp_path).read_bytes() == first
    assert bring(file, tmp_path, again=True).read_bytes() == second
    put(tmp_path, zipped(BROWSER), "deep.zip")
    with pytest.raises(FetchError, match=r"best_model\.pt is a web page"):
        bring(file, tmp_path, again=True)


def test_a_data_set_without_a_direct_link_names_its_own_command(tmp_path: Path) -> None:
    source = declared("screen.h5ad").file
    with pytest.raises(ByHandError, match="then `pertharness data fetch mine` checks it"):
        fetch(source, name="mine", folder=tmp_path)
    assert place_of(source, "mine", tmp_path).download == tmp_path / "mine" / "screen.h5ad"
