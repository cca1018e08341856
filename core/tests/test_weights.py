"""Declared files on disk: what is there, what is damaged, which licences were confirmed, which sums are remembered."""

from __future__ import annotations

import http.server
import json
import os
import threading
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pertharness.contract.cards import Card, EmbeddingOffer, ModelOffer, RemoteFile
from pertharness.contract.errors import FetchError
from pertharness.host.fetch.checksums import record
from pertharness.host.fetch.licences import confirm, has_to_be_confirmed, restricts
from pertharness.host.plugins.weights import Declared, LicenceError, bring, examine, replaced_weights
from pertharness.host.store.hashes import FILE_NAME, identity_of, remembered_sha256
from pydantic import ValidationError

NOWHERE = "http://127.0.0.1:9/model.dat"
BODY = b"weights of a model"
OLD_NS = 1_600_000_000_000_000_000


def declared(**fields: Any) -> Declared:
    usual = {"url": NOWHERE, "filename": "model.dat", "licence": "MIT", "size_mb": 0.9}
    return Declared("deep", "deep", RemoteFile.model_validate({**usual, **fields}))


def put(folder: Path, body: bytes = BODY, name: str = "model.dat") -> Path:
    path = folder / "weights" / "deep" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def test_a_missing_file_is_named_with_size_and_command(tmp_path: Path) -> None:
    found = examine(declared(), tmp_path, tmp_path)
    assert (found.condition, found.sha256) == ("missing", "")
    assert found.reason == "needs the file 'model.dat' (0.9 MB), which is not available: pertharness weights fetch deep"


def test_a_file_put_there_by_hand_is_taken_up_and_checked_from_then_on(tmp_path: Path) -> None:
    path = put(tmp_path)
    found = examine(declared(), tmp_path, tmp_path)
    assert (found.condition, found.path, found.sha256) == ("available", path, sha256(BODY).hexdigest())
    path.write_bytes(b"another thing, "[: len(BODY)].ljust(len(BODY)))  # as long as before
    again = examine(declared(), tmp_path, tmp_path)
    assert again.condition == "damaged"
    assert "has changed" in again.reason
    assert "`pertharness weights fetch deep --again`" in again.reason


def test_a_truncated_file_is_damaged_and_says_how_long_it_was(tmp_path: Path) -> None:
    path = put(tmp_path)
    examine(declared(), tmp_path, tmp_path)
    path.write_bytes(BODY[:4])
    found = examine(declared(), tmp_path, tmp_path)
    assert found.condition == "damaged"
    assert "is incomplete: it has 4 bytes, 18 were recorded" in found.reason


def test_a_file_that_is_not_the_one_on_the_card_is_damaged(tmp_path: Path) -> None:
    put(tmp_path)
    found = examine(declared(sha256="0" * 64), tmp_path, tmp_path)
    assert found.condition == "damaged"
    assert f"its sha256 is {sha256(BODY).hexdigest()}, the offer 'weights/deep' expects {'0' * 64}" in found.reason


def test_a_new_pin_outweighs_what_was_recorded_of_an_older_file(tmp_path: Path) -> None:
    path = put(tmp_path, b"an older and longer file than the new one")
    examine(declared(), tmp_path, tmp_path)
    path.write_bytes(BODY)
    assert examine(declared(sha256=sha256(BODY).hexdigest()), tmp_path, tmp_path).condition == "available"


def test_two_members_of_one_archive_are_two_files(tmp_path: Path) -> None:
    archive = tmp_path / "weights" / "deep" / "all.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("folder/a.bin", b"a")
        file.writestr("folder/b.bin", b"b")
    for name in ("a", "b"):
        one = declared(filename="all.zip", member=f"{name}.bin")
        assert examine(one, tmp_path, tmp_path).path.read_bytes() == name.encode()


def test_a_file_that_went_away_keeps_its_identity(tmp_path: Path) -> None:
    path = put(tmp_path)
    there = examine(declared(), tmp_path, tmp_path)
    path.unlink()
    gone = examine(declared(), tmp_path, tmp_path)
    assert gone.condition == "missing"
    assert gone.identity() == there.identity()


@pytest.mark.parametrize("licence", ["MIT", "CC0-1.0", "CC BY 4.0", "cc-by-sa-4.0", "Apache-2.0", "GPL-3.0-or-later"])
def test_open_licences_are_not_asked_about(licence: str) -> None:
    assert not restricts(licence)


@pytest.mark.parametrize(
    "licence", ["unknown", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "for research only", "", "MIT and more"]
)
def test_any_other_licence_may_restrict_use(licence: str) -> None:
    assert restricts(licence)


def test_a_restricting_licence_is_confirmed_once_and_anew_if_its_words_change(tmp_path: Path) -> None:
    one = declared(licence="CC-BY-NC-4.0")
    put(tmp_path)
    with pytest.raises(LicenceError, match=r"'CC-BY-NC-4\.0' may restrict its use.*fetch deep --accept-licence"):
        bring(one, tmp_path)
    assert examine(one, tmp_path, tmp_path).condition == "missing"
    bring(one, tmp_path, accept=True)
    bring(one, tmp_path)
    assert examine(one, tmp_path, tmp_path).condition == "available"
    known = json.loads((tmp_path / "licences.json").read_text())["files"][NOWHERE]
    assert known["licence"] == "CC-BY-NC-4.0"
    confirm(one.file, tmp_path)  # changes nothing
    assert json.loads((tmp_path / "licences.json").read_text())["files"][NOWHERE] == known
    assert has_to_be_confirmed(declared(licence="CC-BY-NC-ND-4.0").file, tmp_path)


def test_a_damaged_list_of_licences_is_no_consent(tmp_path: Path) -> None:
    (tmp_path / "licences.json").write_text("{}]")
    with pytest.raises(FetchError, match="confirm again"):
        has_to_be_confirmed(declared(licence="unknown").file, tmp_path)


def test_an_untouched_file_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(BODY)
    os.utime(path, ns=(OLD_NS, OLD_NS))
    memory = tmp_path / FILE_NAME
    facts = path.stat()
    look = [facts.st_size, *identity_of(facts)]
    memory.write_text(json.dumps({str(path): [*look, "remembered"]}))
    assert remembered_sha256(path, tmp_path) == "remembered"
    path.write_bytes(BODY[::-1])  # as long as before
    assert remembered_sha256(path, tmp_path) == sha256(BODY[::-1]).hexdigest()


def test_a_damaged_memory_of_sums_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(BODY)
    for text in ("[1, 2", "[]", json.dumps({str(path): [1]})):
        (tmp_path / FILE_NAME).write_text(text)
        assert remembered_sha256(path, tmp_path) == sha256(BODY).hexdigest()


def test_sums_are_worked_out_where_they_cannot_be_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pertharness.host.store.hashes._SETTLED_NS", 0)  # else a file of this moment is not remembered
    path = tmp_path / "large"
    path.write_bytes(BODY)
    assert remembered_sha256(path, path / "no folder") == sha256(BODY).hexdigest()


def test_a_recorded_file_is_used_from_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = put(tmp_path / "data")
    record(path, tmp_path / "data", sha256=sha256(BODY).hexdigest(), url=NOWHERE)
    for folder in (path.parent, tmp_path / "data"):
        folder.chmod(0o555)
    try:
        assert examine(declared(), tmp_path / "data", tmp_path).condition == "available"
    finally:
        for folder in (tmp_path / "data", path.parent):
            folder.chmod(0o755)


def test_a_damaged_file_is_brought_anew_when_asked_to(tmp_path: Path) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        one = declared(url=f"http://127.0.0.1:{server.server_address[1]}/model.dat", sha256=sha256(BODY).hexdigest())
        path = bring(one, tmp_path)
        path.write_bytes(BODY[:4])
        with pytest.raises(FetchError, match="weights fetch deep --again"):
            bring(one, tmp_path)
        assert bring(one, tmp_path, again=True) == path
        assert examine(one, tmp_path, tmp_path).sha256 == sha256(BODY).hexdigest()
    finally:
        server.shutdown()
        server.server_close()


def test_a_card_names_each_file_once() -> None:
    one, other = declared().file, declared(url=f"{NOWHERE}2").file
    model = ModelOffer(name="a", summary="a", tasks=("double",), input="cells", information="training", weights=(one,))
    same = EmbeddingOffer(name="e", summary="e", kinds=("gene",), weights=(one.model_copy(update={"optional": True}),))
    assert Card(models=(model,), embeddings=(same,))
    clash = same.model_copy(update={"weights": (other,)})
    with pytest.raises(ValidationError, match=r"two different files are called 'model\.dat'"):
        Card(models=(model,), embeddings=(clash,))


def test_a_parameter_takes_the_place_of_declared_weights_alone() -> None:
    usual: dict[str, Any] = {
        "name": "deep", "summary": "", "tasks": ("single",), "input": "cells", "information": "training",
        "weights": (declared().file,), "params": {"checkpoint": "", "k": 1}, "file_params": ("checkpoint",),
    }  # fmt: skip
    offer = ModelOffer(**usual, replaces_weights={"checkpoint": ("model.dat",)})
    assert replaced_weights(offer, {"checkpoint": "/x.dat", "k": 1}) == {"model.dat"}
    assert replaced_weights(offer, offer.params) == frozenset()
    with pytest.raises(ValidationError, match="has 'k', which names no file; add it to params and to file_params"):
        ModelOffer(**usual, replaces_weights={"k": ("model.dat",)})
    with pytest.raises(ValidationError, match=r"has 'vocab.json', which is none of its weights: 'model\.dat'"):
        ModelOffer(**usual, replaces_weights={"checkpoint": ("vocab.json",)})
