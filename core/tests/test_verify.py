"""Verifying: whatever is not as it was recorded is named, each thing in a line, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pertharness.contract.jobs import Artefact, Job, PluginRef, Stage, Status
from pertharness.files.whole import sha256_file, write_text
from pertharness.host.store.keys import key_of, key_parts
from pertharness.host.store.records import Store
from pertharness.host.store.sums import sums_of_record, write_manifest
from pertharness.host.store.verify import Finding, Verifier

OWN = PluginRef(name="pertharness", module="pertharness", version="")


def record(
    store: Store, stage: Stage, files: dict[str, bytes], inputs: dict[str, Path], keyed: dict[str, str], **more: Any
) -> str:
    """Lay down a finished record as a run leaves it, and return its key."""
    reads = {role: sha256_file(path) for role, path in inputs.items()} if more.pop("with_sums", True) else {}
    job = Job(
        key="", stage=stage, plugin=OWN, inputs=inputs, key_parts=key_parts(stage, {"name": "own"}, keyed), **more
    )
    job = job.model_copy(update={"key": key_of(job)})
    folder = store.record(stage, job.key)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    artefacts = {name: Artefact(size=len(text), sha256=sha256_file(folder / name)) for name, text in files.items()}
    status = Status(key=job.key, state="done", artefacts=artefacts, inputs=reads, finished="2026-01-01T00:00:00+00:00")
    write_text(folder / "job.json", job.model_dump_json(indent=1))
    write_text(folder / "status.json", status.model_dump_json(indent=1))
    return job.key


class Bench:
    """A store with a dataset, a split of it and a prediction, and a run that was made with them."""

    def __init__(self, folder: Path, *, with_sums: bool = True) -> None:
        self.store = Store.open(folder / "store")
        self.source = folder / "screen.h5ad"
        self.source.write_bytes(b"screen")
        sums = {"with_sums": with_sums}
        self.keys: dict[str, str] = {}
        self.keys["datasets"] = record(
            self.store, "datasets", {"dataset.h5ad": b"cells", "pseudobulk.h5ad": b"means"}, {"source": self.source},
            {"source": sha256_file(self.source)}, **sums,
        )  # fmt: skip
        self.keys["splits"] = record(
            self.store, "splits", {"split.json": b"{}", "train.h5ad": b"train"},
            {"dataset": self.path("datasets", "dataset.h5ad")}, {"dataset": self.keys["datasets"]}, **sums,
        )  # fmt: skip
        self.keys["predictions"] = record(
            self.store, "predictions", {"prediction.h5ad": b"prediction" * 1000},
            {role: self.path("splits", name) for role, name in (("train", "train.h5ad"), ("split", "split.json"))},
            {"split": self.keys["splits"]}, params={"k": 10, "values": (1, 2.5)}, seed=3, **sums,
        )  # fmt: skip
        self.run = folder / "run"
        (self.run / "tables").mkdir(parents=True)
        for name in ("leaderboard.csv", "scores.csv.gz", "tables/a.csv"):
            (self.run / name).write_text(name, encoding="utf-8")
        (self.run / "notes.txt").write_text("the user's own", encoding="utf-8")
        records = {
            key: {
                "stage": stage, "title": "", "state": "done", "message": "",
                **sums_of_record(self.store.record(stage, key), self.store.status(stage, key)),  # type: ignore[arg-type]
            }
            for stage, key in self.keys.items()
        }  # fmt: skip
        self.manifest: dict[str, Any] = {"format": 1, "store": str(self.store.root), "records": records}
        write_manifest(self.run, self.manifest)

    def path(self, stage: Stage, name: str) -> Path:
        return self.store.record(stage, self.keys[stage]) / name

    def of_store(self) -> list[Finding]:
        return list(Verifier(self.store).verify_store())

    def of_run(self) -> list[Finding]:
        manifest = json.loads((self.run / "manifest.json").read_text(encoding="utf-8"))
        return list(Verifier(self.store).verify_run(self.run, manifest))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("with_sums", [True, False])
def test_nothing_is_found_where_all_is_as_it_was(with_sums: bool, tmp_path: Path) -> None:
    bench = Bench(tmp_path, with_sums=with_sums)
    assert bench.of_store() == bench.of_run() == []
    read: list[int] = []
    verifier = Verifier(bench.store, read.append)
    assert list(verifier.verify_store()) == []
    assert (verifier.n_records, verifier.n_files) == (3, 6)  # five artefacts and the source
    assert sum(read) == verifier.n_bytes == 10_000 + len(b"cellsmeans{}trainscreen")


def test_a_store_that_was_moved_is_as_it_was(bench: Bench, tmp_path: Path) -> None:
    shutil.move(bench.store.root, tmp_path / "elsewhere")
    assert list(Verifier(Store(tmp_path / "elsewhere")).verify_store()) == []


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def same_size(bench: Bench) -> None:
    path = bench.path("predictions", "prediction.h5ad")
    facts = path.stat()
    with path.open("r+b") as file:
        file.write(b"P")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def replace_by_link(bench: Bench) -> None:
    path = bench.path("predictions", "prediction.h5ad")
    path.rename(path.with_name("kept"))
    path.symlink_to("kept")


def rewrite_with_its_status(bench: Bench) -> None:
    """Alter means and status alike, as a faulty tool would that thinks of the sums."""
    path = bench.path("splits", "train.h5ad")
    old = sha256_file(path)
    path.write_bytes(b"Train")
    edit(path.with_name("status.json"), old, sha256_file(path))


DAMAGE: dict[str, tuple[Callable[[Bench], Any], str]] = {
    "content": (same_size, "predictions/KEY/prediction.h5ad: has changed: its sha256"),
    "size": (lambda b: b.path("datasets", "dataset.h5ad").write_bytes(b""), "datasets/KEY/dataset.h5ad: has 0 bytes"),
    "missing": (lambda b: b.path("splits", "split.json").unlink(), "splits/KEY/split.json: is missing"),
    "link": (replace_by_link, "predictions/KEY/prediction.h5ad: is a link"),
    "folder": (
        lambda b: (b.path("splits", "split.json").unlink(), b.path("splits", "split.json").mkdir()),
        "splits/KEY/split.json: is missing",
    ),
    "input": (rewrite_with_its_status, "predictions/KEY: read a different train"),
    "source": (lambda b: b.source.write_bytes(b"Screen"), "datasets/KEY: its source"),
    "params": (
        lambda b: edit(b.path("predictions", "job.json"), '"k": 10', '"k": 11'),
        "predictions/KEY/job.json: has changed: its content has another key",
    ),
    "plugin's source": (
        lambda b: edit(b.path("splits", "job.json"), '"name": "own"', '"name": "another"'),
        "splits/KEY/job.json: has changed",
    ),
    "paths": (
        lambda b: edit(b.path("predictions", "job.json"), f"{b.keys['splits']}/train", f"{'f' * 64}/train"),
        "predictions/KEY/job.json: has changed: its train is from splits/ffff",
    ),
    "status": (lambda b: b.path("splits", "status.json").write_bytes(b"{"), "splits/KEY/status.json: is damaged"),
    "no status": (lambda b: b.path("splits", "status.json").unlink(), "splits/KEY/status.json: cannot be read"),
    "no job": (lambda b: b.path("splits", "job.json").unlink(), "splits/KEY: "),
    "another's job": (
        lambda b: shutil.copy(b.path("datasets", "job.json"), b.path("splits", "job.json")),
        "splits/KEY/job.json: belongs to datasets/",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_what_differs_is_named_once(name: str, bench: Bench) -> None:
    damage, words = DAMAGE[name]
    damage(bench)
    wanted = words.replace("KEY", bench.keys[words.split("/")[0].split(":")[0]])
    (found,) = [one.text for one in bench.of_store() if one.differs]
    assert found.startswith(wanted)
    assert found in [one.text for one in bench.of_run() if one.differs]


def test_a_record_made_again_is_not_the_one_of_the_run(bench: Bench) -> None:
    path = bench.path("predictions", "prediction.h5ad")
    old, size = sha256_file(path), path.stat().st_size
    path.write_bytes(b"another prediction")
    edit(path.with_name("status.json"), old, sha256_file(path))
    edit(path.with_name("status.json"), f'"size": {size}', f'"size": {path.stat().st_size}')
    assert bench.of_store() == []
    (found,) = bench.of_run()
    assert found.text.endswith("is not the record that the run used; it was made later")


HAND_EDITS: dict[str, Callable[[Path], Any]] = {
    "status.json": lambda folder: edit(
        folder / "status.json", '"isolation": null', '"isolation": {"mechanism": "bwrap"}'
    ),
    "status.json of cost": lambda folder: edit(
        folder / "status.json", '"cost": null', '"cost": {"wall_s": 1, "cpu_s": 1, "peak_rss_mb": 1}'
    ),
    "status.json of a note": lambda folder: edit(folder / "status.json", '"notes": []', '"notes": ["all is well"]'),
    "status.json of another machine": lambda folder: edit(folder / "status.json", '"host": ""', '"host": "large"'),
    "job.json": lambda folder: edit(folder / "job.json", '"version": ""', '"version": "9"'),
}  # fmt: skip
"""What no sum of an artefact and no key knows of, by the file that is to be named."""


@pytest.mark.parametrize("name", HAND_EDITS)
def test_a_status_or_a_job_edited_by_hand_is_named_for_the_run(name: str, bench: Bench) -> None:
    HAND_EDITS[name](bench.store.record("predictions", bench.keys["predictions"]))
    assert bench.of_store() == []
    (found,) = bench.of_run()
    assert found.differs
    file = name.split(" ")[0]
    assert found.text.startswith(f"predictions/{bench.keys['predictions']}: its {file} changed after the run")


def test_an_older_run_whose_manifest_has_no_sums_of_these_is_verified_as_before(bench: Bench) -> None:
    manifest = json.loads((bench.run / "manifest.json").read_text(encoding="utf-8"))
    for one in manifest["records"].values():
        assert {"status", "job"} <= {*one}
        del one["status"], one["job"]
    (bench.run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert bench.of_run() == []
    HAND_EDITS["status.json"](bench.store.record("predictions", bench.keys["predictions"]))
    assert bench.of_run() == []
    same_size(bench)
    assert len(bench.of_run()) == 1


def test_what_a_run_was_joined_from_counts_not_what_its_record_says_by_then(bench: Bench) -> None:
    folder = bench.store.record("predictions", bench.keys["predictions"])
    joined_from = Status.model_validate_json((folder / "status.json").read_bytes())
    before = sums_of_record(folder, joined_from)
    edit(folder / "status.json", '"host": ""', '"host": "large"')
    assert sums_of_record(folder, joined_from) == before
    assert before["status"] != sha256_file(folder / "status.json")


def test_a_status_that_is_written_otherwise_and_says_the_same_is_that_of_the_run(bench: Bench) -> None:
    """As an older version has written it, which knew fewer fields."""
    folder = bench.store.record("predictions", bench.keys["predictions"])
    status = Status.model_validate_json((folder / "status.json").read_bytes())
    (folder / "status.json").write_text(status.model_dump_json(exclude_defaults=True), encoding="utf-8")
    assert sums_of_record(folder, status)["status"] == sha256_file(folder / "status.json")


RECIPE = """
name = "few"
seeds = [1]
models = ["mean"]
scorers = ["l2"]
datasets.demo.params = { n_genes = 60, n_singles = 6, n_doubles = 6, n_controls = 20, n_cells = 5 }

[[tasks]]
split = { kind = "double" }
"""


def test_a_leaderboard_that_shows_an_edited_isolation_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text(RECIPE, encoding="utf-8")

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("pertharness")), *words], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PERTHARNESS_STORE": str(tmp_path / "store")},
        )  # fmt: skip

    assert command("run", "few.toml", "--out", "out", "--isolation", "none").returncode == 0
    assert command("verify", "out").returncode == 0
    (folder,) = (tmp_path / "store" / "predictions").iterdir()
    (folder / "status.json").chmod(0o644)
    edit(folder / "status.json", '"mechanism": "none"', '"mechanism": "landlock"')
    done = command("verify", "out")
    assert done.returncode == 1
    assert f"predictions/{folder.name}: its status.json changed after the run" in done.stdout


def test_the_files_of_a_run_are_compared_with_its_manifest(bench: Bench) -> None:
    (bench.run / "leaderboard.csv").write_text("mine is best", encoding="utf-8")
    (bench.run / "scores.csv.gz").unlink()
    (bench.run / "tables" / "b.csv").write_text("", encoding="utf-8")
    found = [one.text.removeprefix(f"{bench.run}/") for one in bench.of_run()]
    assert found[0].startswith("leaderboard.csv: has changed")
    assert found[1:] == ["scores.csv.gz: is missing", "tables/b.csv: was added after the run was written"]


def test_a_record_of_a_run_that_is_gone_differs_and_one_that_was_read_cannot_be_compared(bench: Bench) -> None:
    shutil.rmtree(bench.store.record("splits", bench.keys["splits"]))
    assert [one.differs for one in bench.of_store()] == [False, False]  # the prediction read two of its files
    found = bench.of_run()
    assert [one.text for one in found if one.differs] == [
        f"splits/{bench.keys['splits']}: is missing from the store, but the run used it"
    ]


def test_a_source_that_is_gone_cannot_be_compared(bench: Bench) -> None:
    bench.source.unlink()
    (found,) = bench.of_store()
    assert not found.differs
    assert "no longer exists" in found.text


def test_a_manifest_that_names_no_records_of_a_store_is_said_to(bench: Bench) -> None:
    bench.manifest["records"]["../../elsewhere"] = {"stage": "splits", "state": "done", "message": "", "title": ""}
    (found,) = Verifier(bench.store).verify_run(bench.run, bench.manifest)
    assert "'../../elsewhere'" in found.text


def test_a_record_that_is_replaced_while_it_is_read_is_read_again(bench: Bench) -> None:
    same_size(bench)
    folder = bench.store.record("predictions", bench.keys["predictions"])
    new = folder.with_name("new")
    shutil.copytree(folder, new)
    (new / "prediction.h5ad").write_bytes(b"prediction" * 1000)
    edit(new / "status.json", "2026-01-01", "2026-01-02")

    def replace(read: int) -> None:
        if read and new.exists():
            shutil.rmtree(folder)
            new.rename(folder)

    assert list(Verifier(bench.store, replace).verify_record("predictions", bench.keys["predictions"])) == []
