"""A damaged ``store.json``: mended where there are no records, else named with what to delete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pertharness.contract.errors import StoreError
from pertharness.host.store.marker import MARKER
from pertharness.host.store.records import Store

DAMAGED = {
    "empty": b"", "truncated": b'{"form', "not text": b"\xff\xfe\x00", "NUL": b"\0" * 12, "a list": b"[1]",
    "a number": b"1", "without a format": b"{}", "no number": b'{"format": "1"}', "a truth value": b'{"format": true}',
    "deep": b"[" * 100_000,
}  # fmt: skip


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return Store.open(tmp_path / "store").root / MARKER


@pytest.mark.parametrize("case", DAMAGED)
def test_a_store_without_records_mends_itself(case: str, marker: Path) -> None:
    whole = json.loads(marker.read_bytes())
    marker.write_bytes(DAMAGED[case])
    (marker.parent / "scores").mkdir()
    Store.open(marker.parent)
    mended = json.loads(marker.read_bytes())
    assert (mended["format"], len(mended["secret"])) == (whole["format"], len(whole["secret"])) == (2, 32)


def test_names_of_work_folders_cannot_be_worked_out_without_the_store(marker: Path, tmp_path: Path) -> None:
    store, other = Store.open(marker.parent), Store.open(tmp_path / "other")
    assert store.work("key") == Store.open(marker.parent).work("key")
    assert store.work("key").name.startswith("key.")
    names = {store.work("key").name, store.work("key2").name.replace("key2", "key"), other.work("key").name}
    assert len(names) == 3


def test_a_store_without_a_secret_gets_one(marker: Path) -> None:
    marker.write_text('{"format": 2}\n')
    before = Store(marker.parent).work("key")
    assert Store.open(marker.parent).work("key") != before


@pytest.mark.parametrize("case", DAMAGED)
def test_a_store_with_records_says_what_to_delete(case: str, marker: Path) -> None:
    marker.write_bytes(DAMAGED[case])
    (marker.parent / "scores" / "0123").mkdir(parents=True)
    with pytest.raises(StoreError) as error:
        Store.open(marker.parent)
    assert str(error.value).startswith(f"{str(marker)!r} is damaged: it holds ")
    assert "delete that file, and it is made again" in str(error.value)
    assert marker.read_bytes() == DAMAGED[case]
    marker.unlink()
    assert Store.open(marker.parent).record("scores", "0123").is_dir()


def test_a_folder_in_its_place_is_named(marker: Path) -> None:
    marker.unlink()
    marker.mkdir()
    with pytest.raises(StoreError, match=r"store\.json' is a folder; .* remove it"):
        Store.open(marker.parent)


def test_another_format_is_named_as_such_and_spaces_mean_nothing(marker: Path) -> None:
    found = json.loads(marker.read_bytes())
    marker.write_text(json.dumps(found, indent=4))
    Store.open(marker.parent)
    marker.write_text('{"format": 999}')
    with pytest.raises(StoreError, match="999"):
        Store.open(marker.parent)
    assert json.loads(marker.read_bytes()) == {"format": 999}


def test_a_link_to_itself_is_named(marker: Path) -> None:
    marker.unlink()
    marker.symlink_to(MARKER)
    with pytest.raises(StoreError, match="cannot be used: Too many levels of symbolic links"):
        Store.open(marker.parent)
