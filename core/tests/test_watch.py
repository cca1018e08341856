"""What a record says that it read is what was there, whatever becomes of inputs while a job is at them."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import Job, PluginRef, Task
from pertharness.contract.labels import CONTROL
from pertharness.data.canonical import select, write
from pertharness.files.whole import sha256_file
from pertharness.host.execution.executor import Usage
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.execution.runner import Runner
from pertharness.host.store.records import Store
from pertharness.testing import planted_means

QUERIES = ["CEBPE+KLF1", "MYC+TP53"]
PLUGIN = """
import os, time
from pathlib import Path
import pertharness as p

OFFER = p.ModelOffer(name="model", summary="s", tasks=("double",), input="pseudobulk", information="training")

@p.hookimpl
def describe():
    return p.Card(models=(OFFER,))

@p.hookimpl
def fit(train, workdir):
    (workdir / "reading").touch()
    print(os.getpid())
    while Path({flag!r}).exists():
        time.sleep(0.01)
    return train.X.mean(axis=0)

@p.hookimpl
def predict(model, controls, queries):
    return p.make_prediction(dict.fromkeys(queries, model), controls.var_names)
"""


class Starts:
    """An observer that counts how often a job begins."""

    number = 0

    def planned(self, number: int) -> None: ...

    def started(self, node: Node) -> None:
        self.number += 1

    def ended(self, node: Node, outcome: Outcome) -> None: ...

    def tick(self, running: list[tuple[Node, Usage]]) -> None: ...


class Bench:
    """A model's job on files beside a store, which waits for as long as there is a certain file."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, Store.open(root / "store")
        self.flag = root / "wait"
        self.starts = Starts()
        self.inputs = root / "inputs"
        self.inputs.mkdir()
        self.more: dict[str, Path] = {}
        means = planted_means()
        write(select(means, [CONTROL, "KLF1", "CEBPE"]), self.inputs / "train.h5ad")
        split = {"train": [CONTROL, "KLF1", "CEBPE"], "val": [], "test": QUERIES}
        (self.inputs / "split.json").write_text(json.dumps(split))
        package = root / "plugins"
        package.mkdir()
        (package / "waiting_model.py").write_text(PLUGIN.format(flag=str(self.flag)))

    def node(self, *, key: str = "predicted", device: str = "cpu", cheap: bool = False, **sums: str) -> Node:
        job = Job.model_validate({
            "key": key, "stage": "predictions", "name": "model", "options": {"score_on": ["test"]}, "device": device,
            "plugin": PluginRef(name="waiting", module="waiting_model", version="1"),
            "task": Task(dataset="d", name="double", split_kind="double", split_seed=1),
            "inputs": {"train": self.inputs / "train.h5ad", "split": self.inputs / "split.json", **self.more},
        })  # fmt: skip
        return Node(job=job, python=self.python, title="model", cheap=cheap, sums=sums)

    @property
    def python(self) -> Path:
        """Return an interpreter that finds the plugin, as that of an environment does."""
        script = self.root / "python"
        code = f"import sys; sys.path.insert(0, {str(self.root / 'plugins')!r}); "
        code += "from pertharness.worker.main import main; sys.exit(main(sys.argv[6:]))"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W ignore -c "{code}" "$@"\n')
        script.chmod(0o755)
        return script

    def printed(self, key: str) -> str:
        return (self.store.record("predictions", key) / "log.txt").read_text()

    def run(self, node: Node) -> Outcome:
        executor = local_executor(self.store.root, isolation="none")
        return Runner(self.store, executor, observer=self.starts).run([node])[node.key]

    def run_meanwhile(self, act: Callable[[], object]) -> None:
        """Carry out the job, and do something once it has read its inputs and has not ended."""
        self.flag.touch()
        started = self.store.work("predicted") / "scratch" / "reading"

        def wait_and_act() -> None:
            end = time.monotonic() + 300
            while not started.exists() and time.monotonic() < end:
                time.sleep(0.01)
            act()
            self.flag.unlink()

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        try:
            self.run(self.node())
        finally:
            thread.join()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def alter(path: Path) -> None:
    """Change one byte of a file, and let its size and its time of change be what they were."""
    facts = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_record_holds_the_sums_of_what_its_job_read(bench: Bench) -> None:
    outcome = bench.run(bench.node())
    assert outcome.state == "done", outcome.message
    assert outcome.status is not None
    assert outcome.status.inputs == {name: sha256_file(bench.inputs / file) for name, file in
                                     {"train": "train.h5ad", "split": "split.json"}.items()}  # fmt: skip


@pytest.mark.parametrize("name", ["train.h5ad", "split.json"])
def test_an_input_that_changes_while_a_job_reads_it_makes_no_record(name: str, bench: Bench) -> None:
    with pytest.raises(StoreError, match=rf"{name}' was changed while a job read it; rerun the same command"):
        bench.run_meanwhile(lambda: alter(bench.inputs / name))
    assert bench.store.status("predictions", "predicted") is None
    alter(bench.inputs / name)  # back to what it was
    assert bench.run(bench.node()).state == "done"


@pytest.fixture
def piece(bench: Bench) -> Path:
    """Let the job read a folder, such as a zarr store, and return a file in it."""
    path = bench.inputs / "screen.zarr" / "X" / "0.0"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"values")
    bench.more = {"source": bench.inputs / "screen.zarr"}
    return path


def test_a_file_in_a_folder_that_changes_while_a_job_reads_it_makes_no_record(bench: Bench, piece: Path) -> None:
    with pytest.raises(StoreError, match=r"screen\.zarr' was changed while a job read it"):
        bench.run_meanwhile(lambda: alter(piece))
    assert bench.store.status("predictions", "predicted") is None


def test_a_job_is_done_again_where_a_file_in_a_folder_was_another_one_meanwhile(bench: Bench, piece: Path) -> None:
    def replace_and_restore() -> None:
        before = piece.read_bytes()
        alter(piece)
        piece.write_bytes(before)

    bench.run_meanwhile(replace_and_restore)
    assert bench.store.status("predictions", "predicted") is not None
    assert bench.starts.number == 2


def test_an_input_that_goes_while_a_job_reads_it_makes_no_record(bench: Bench) -> None:
    with pytest.raises(StoreError, match=r"train\.h5ad' is gone"):
        bench.run_meanwhile((bench.inputs / "train.h5ad").unlink)
    assert bench.store.status("predictions", "predicted") is None


def test_a_job_is_done_again_where_an_input_was_another_one_meanwhile(bench: Bench) -> None:
    """The file is again what it was when the job ends, which may have read something else."""
    path = bench.inputs / "train.h5ad"

    def replace_and_restore() -> None:
        before = path.read_bytes()
        alter(path)
        path.write_bytes(before)

    bench.run_meanwhile(replace_and_restore)
    assert bench.store.status("predictions", "predicted") is not None
    assert bench.starts.number == 2


def test_an_input_is_held_against_what_its_record_says(bench: Bench) -> None:
    with pytest.raises(StoreError, match=r"train\.h5ad' is not the file that its record describes"):
        bench.run(bench.node(train="0" * 64))
    assert bench.store.status("predictions", "predicted") is None
    assert bench.run(bench.node(train=sha256_file(bench.inputs / "train.h5ad"))).state == "done"


def test_a_record_of_other_inputs_is_made_anew(bench: Bench) -> None:
    before = sha256_file(bench.inputs / "split.json")
    assert bench.run(bench.node(split=before)).fresh
    assert not bench.run(bench.node(split=before)).fresh
    (bench.inputs / "split.json").write_text((bench.inputs / "split.json").read_text() + "\n")
    after = sha256_file(bench.inputs / "split.json")
    outcome = bench.run(bench.node(split=after))
    assert outcome.fresh
    assert outcome.status is not None
    assert outcome.status.inputs["split"] == after != before


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_jobs_that_one_watcher_gets_together_have_a_process_each(device: str, bench: Bench) -> None:
    """Those for a GPU are not forked: an interpreter is started for each, and for it alone."""
    nodes = [bench.node(key=key, device=device, cheap=True) for key in ("first", "second", "third")]
    outcomes = Runner(bench.store, local_executor(bench.store.root, isolation="none")).run(nodes)
    assert {key: (outcome.state, outcome.message) for key, outcome in outcomes.items()} == dict.fromkeys(
        ("first", "second", "third"), ("done", "")
    )
    assert len({bench.printed(key) for key in outcomes}) == 3
