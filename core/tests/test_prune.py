"""What the store takes up, and what is removed of it: never what a kept run names or a running job uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet  # another than Python's own before 3.11
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pertharness.contract.jobs import Artefact, Job, PluginRef, Stage, Status
from pertharness.files.whole import sha256_text, write_text
from pertharness.host.store.in_use import keys_in_use, nobody_else_removes, use_records
from pertharness.host.store.prune import Pruned, prune
from pertharness.host.store.records import Store
from pertharness.host.store.space import take_stock

OWN = PluginRef(name="pertharness", module="pertharness", version="")
DAY_S = 86_400.0

HOLD = """
import sys
from pathlib import Path
from pertharness.host.store.in_use import use_records
from pertharness.host.store.records import Store
store, *keys = sys.argv[1:]
with use_records(Store(Path(store)), keys):
    print("used", flush=True)
    sys.stdin.read()
"""


def another_run(store: Store, *keys: str) -> subprocess.Popen[str]:
    """Start a process that relies on records as a run does."""
    command = [sys.executable, "-c", HOLD, str(store.root), *keys]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Shelf:
    """A store with records that read one another: two datasets, a split and a prediction of each, scores of these."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "store")
        self.keys: dict[str, str] = {}
        for name in ("a", "b"):
            self.add("datasets", f"{name} data")
            self.add("splits", f"{name} split", f"{name} data")
            self.add("predictions", f"{name} prediction", f"{name} split")
            self.add("scores", f"{name} scores", f"{name} data", f"{name} split", f"{name} prediction")

    def add(self, stage: Stage, name: str, *reads: str, days: float = 0.0) -> str:
        """Lay down a record that reads others."""
        key = self.keys[name] = sha256_text(name)
        folder = self.store.record(stage, key)
        finished = datetime.now(timezone.utc) - timedelta(days=days)
        status = Status(
            key=key, state="done", finished=finished.isoformat(timespec="seconds"),
            artefacts={"x": Artefact(size=1000, sha256="")},
        )  # fmt: skip
        write_text(folder / "status.json", status.model_dump_json())
        write_text(folder / "job.json", self.job(stage, key, *reads).model_dump_json())
        (folder / "x").write_bytes(b"x" * 1000)
        return key

    def job(self, stage: Stage, key: str, *reads: str) -> Job:
        inputs = {name: self.place(name) / "x" for name in reads}
        return Job(key=key, stage=stage, plugin=OWN, inputs=inputs)

    def place(self, name: str) -> Path:
        (found,) = [path for path in self.store.root.glob(f"*/{self.keys[name]}") if path.parent.name != "work"]
        return found

    def begin(self, name: str, *reads: str) -> Path:
        """Lay out a job that is not finished."""
        key = self.keys[name] = sha256_text(name)
        write_text(self.store.work(key) / "job.json", self.job("scores", key, *reads).model_dump_json())
        return self.store.work(key)

    def run(self, *names: str) -> dict[str, Any]:
        return {"records": {self.keys[name]: {"state": "done"} for name in names}}

    def there(self) -> set[str]:
        named = {path.name: name for name, key in self.keys.items() for path in (Path(key), self.store.work(key))}
        return {named[path.name] for path in self.store.root.glob("*/*") if path.name in named}

    def prune(self, *kept: dict[str, Any], days: float | None = None, dry_run: bool = False) -> Pruned:
        return prune(self.store, kept, None if days is None else days * DAY_S, dry_run=dry_run)


ALL_OF_A = {"a data", "a split", "a prediction", "a scores"}
ALL_OF_B = {"b data", "b split", "b prediction", "b scores"}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_what_a_kept_run_names_stays_with_all_that_it_was_made_from(shelf: Shelf) -> None:
    pruned = shelf.prune(shelf.run("a scores"))
    assert shelf.there() == ALL_OF_A
    assert {kind: space.number for kind, space in pruned.removed.items()} == {
        "datasets": 1, "splits": 1, "predictions": 1, "scores": 1,
    }  # fmt: skip
    assert all(space.n_bytes > 1000 for space in pruned.removed.values())
    assert (pruned.n_kept, pruned.n_used, pruned.skipped) == (4, 0, [])
    assert list((shelf.store.root / "work").iterdir()) == []
    assert shelf.prune(shelf.run("a scores")).removed == {}


def test_several_runs_are_kept(shelf: Shelf) -> None:
    shelf.prune(shelf.run("a prediction"), shelf.run("b split"))
    assert shelf.there() == {"a prediction", "a split", "a data", "b split", "b data"}


def test_a_dry_run_removes_nothing_and_counts_the_same(shelf: Shelf) -> None:
    before = sorted(shelf.store.root.rglob("*"))
    foreseen = shelf.prune(shelf.run("a scores"), dry_run=True)
    assert sorted(shelf.store.root.rglob("*")) == before
    assert foreseen == shelf.prune(shelf.run("a scores"))


def test_only_what_is_old_goes_and_young_records_keep_what_they_were_made_from(shelf: Shelf) -> None:
    for name, stage in (("b data", "datasets"), ("b split", "splits"), ("b scores", "scores")):
        shelf.add(stage, name, *(["b data"] if name != "b data" else []), days=40)  # type: ignore[arg-type]
    shelf.prune(days=30)
    assert shelf.there() == ALL_OF_A | {"b data", "b split", "b prediction"}
    shelf.prune(days=50)
    assert "b data" in shelf.there()


def test_a_record_that_does_not_say_when_it_ended_is_as_old_as_its_files(shelf: Shelf) -> None:
    folder = shelf.place("b scores")
    (folder / "status.json").write_text("{", encoding="utf-8")
    shelf.prune(days=30)
    assert "b scores" in shelf.there()
    for path in [*folder.iterdir(), folder]:
        os.utime(path, (time.time() - 40 * DAY_S,) * 2)
    shelf.prune(days=30)
    assert shelf.there() == (ALL_OF_A | ALL_OF_B) - {"b scores"}


def test_an_old_record_of_a_kept_run_stays_and_an_old_one_of_none_goes(shelf: Shelf) -> None:
    for name in ("a scores", "b scores"):
        shelf.add("scores", name, days=40)
    shelf.prune(shelf.run("a scores"), days=30)
    assert shelf.there() == (ALL_OF_A | ALL_OF_B) - {"b scores"}


def test_a_running_job_keeps_its_folder_its_record_and_what_it_reads(shelf: Shelf) -> None:
    work = shelf.begin("running", "b prediction", "b data")
    again = shelf.store.lease(shelf.keys["b scores"])  # made again: the old record is there until the new one is
    lock = shelf.store.lease(shelf.keys["running"])
    assert lock is not None and again is not None
    pruned = shelf.prune(shelf.run("a scores"))
    assert shelf.there() == ALL_OF_A | ALL_OF_B | {"running"}
    assert pruned.n_used == 1
    assert (work / "job.json").exists()
    lock.release()
    again.release()
    shelf.prune(shelf.run("a scores"))
    assert shelf.there() == ALL_OF_A


def test_unfinished_work_goes_unless_a_kept_run_may_resume_it_or_it_is_young(shelf: Shelf) -> None:
    kept, left = shelf.begin("kept", "a data"), shelf.begin("left", "a data")
    half = shelf.store.root / "work" / f"{'0' * 64}.old-123"
    half.mkdir()
    assert shelf.prune(shelf.run("kept"), days=1).removed.keys() == {
        "unfinished"
    }  # what another call left half removed
    assert kept.exists() and left.exists() and not half.exists()
    shelf.prune(shelf.run("kept"))
    assert kept.exists() and not left.exists()


def test_a_run_in_progress_keeps_all_that_its_plan_names(shelf: Shelf) -> None:
    keys = [shelf.keys["b scores"], sha256_text("not there yet")]
    with another_run(shelf.store, *keys) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "used\n"
        assert keys_in_use(shelf.store) == set(keys)
        pruned = shelf.prune(shelf.run("a split"))
        assert shelf.there() == ALL_OF_B | {"a data", "a split"}
        assert pruned.n_used == 1
        run.kill()
        run.wait()
    shelf.prune(shelf.run("a split"))
    assert shelf.there() == {"a data", "a split"}
    assert list((shelf.store.root / "work").iterdir()) == []


def test_a_run_relies_on_more_as_it_goes_and_on_nothing_when_it_ends(shelf: Shelf) -> None:
    with use_records(shelf.store, ["one"]) as use:
        use.add(["two"])
        assert keys_in_use(shelf.store) == {"one", "two"}
    assert keys_in_use(shelf.store) == set()
    assert list((shelf.store.root / "work").iterdir()) == []


def test_the_next_run_takes_away_what_a_killed_one_left(shelf: Shelf) -> None:
    with another_run(shelf.store, "key") as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "used\n"
        run.kill()
    assert len(list((shelf.store.root / "work").iterdir())) == 2
    with use_records(shelf.store, []):
        assert len(list((shelf.store.root / "work").iterdir())) == 2
    assert list((shelf.store.root / "work").iterdir()) == []


def test_a_run_that_relies_on_more_waits_until_a_removal_is_through(shelf: Shelf) -> None:
    with use_records(shelf.store, ["one"]) as use, ThreadPoolExecutor(1) as pool:
        with nobody_else_removes(shelf.store):
            added = pool.submit(use.add, ["two"])
            with pytest.raises(NotYet):
                added.result(0.2)
            assert keys_in_use(shelf.store) == {"one"}
        added.result(300)
        assert keys_in_use(shelf.store) == {"one", "two"}


def test_no_run_begins_between_the_look_and_the_removal(shelf: Shelf) -> None:
    with nobody_else_removes(shelf.store), another_run(shelf.store, "key") as run:
        while not list((shelf.store.root / "work").glob("run-*.lock")):
            time.sleep(0.02)
        time.sleep(0.2)
        assert keys_in_use(shelf.store) == set()
        run.kill()


def test_no_link_is_followed(shelf: Shelf, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "data").write_bytes(b"mine")
    (shelf.place("b scores") / "link").symlink_to(outside, target_is_directory=True)
    (shelf.store.root / "scores" / ("1" * 64)).symlink_to(outside, target_is_directory=True)
    (shelf.store.root / "halves").symlink_to(outside, target_is_directory=True)
    (outside / ("2" * 64)).mkdir()
    (shelf.store.root / "work" / ("3" * 64)).symlink_to(outside, target_is_directory=True)
    (shelf.store.root / "joins").symlink_to(outside, target_is_directory=True)
    pruned = shelf.prune(shelf.run("a scores"))
    assert sorted(path.name for path in outside.iterdir()) == ["2" * 64, "data"]
    assert shelf.there() == ALL_OF_A
    assert pruned.skipped == ["halves: is a link", f"scores/{'1' * 64}: is a link"]
    assert not (shelf.store.root / "work" / ("3" * 64)).is_symlink()


def test_caches_go_unless_a_run_is_in_progress(shelf: Shelf) -> None:
    for name in ("joins/x/piece", "caches/env/code"):
        write_text(shelf.store.root / name, "cache")
    with use_records(shelf.store, ["key"]):
        assert "caches" not in shelf.prune(shelf.run("a scores")).removed
    assert shelf.prune(shelf.run("a scores"), days=1).removed.get("caches") is None
    assert shelf.prune(shelf.run("a scores")).removed["caches"].number == 2
    assert not list((shelf.store.root / "joins").iterdir())


def test_the_size_of_a_store_is_counted_by_kind_and_a_file_of_two_names_once(shelf: Shelf) -> None:
    work = shelf.begin("half")
    (work / "train.h5ad").hardlink_to(shelf.place("a data") / "x")
    (work / "y").write_bytes(b"y" * 500)
    write_text(shelf.store.root / "joins" / "piece", "z" * 70)
    write_text(shelf.store.root / "hashes.json", "{}")
    rows = {row.name: row for row in take_stock(shelf.store)}
    assert [rows[name].number for name in ("datasets", "halves", "scores", "unfinished")] == [2, 0, 2, 1]
    texts = [shelf.place(name) / file for name in ("a data", "b data") for file in ("job.json", "status.json")]
    assert rows["datasets"].n_bytes == 2000 + sum(path.stat().st_size for path in texts)
    assert rows["unfinished"].n_bytes == 500 + (work / "job.json").stat().st_size
    assert (rows["caches"].number, rows["caches"].n_bytes) == (2, 72)
    assert json.loads((shelf.store.root / "store.json").read_text(encoding="utf-8")).keys() == {"format", "secret"}
