"""The runner with real workers, and plugins that go wrong in one way each."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution.batch import Mechanism
from pertharness.host.execution.kinds import kind_of
from pertharness.host.execution.layout import lay_out
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.runner import DiskFullError, Runner
from pertharness.host.execution.tree import has_ended
from pertharness.host.store.hashes import identity_of
from pertharness.host.store.records import Store

CARD = "import pertharness as p\nimport os, signal, subprocess, sys, time\n@p.hookimpl\ndef describe():\n    "
SLEEP = ["sleep", f"600.{os.getpid()}"]  # a child that nobody else on the machine has
SLEEP_APART = ["sleep", f"601.{os.getpid()}"]
PLUGINS = {
    "good": "return p.Card()",
    "noisy": "print('hello from the plugin'); return p.Card()",
    "raises": "raise ValueError('no such thing')",
    "skips": "raise p.Skip('needs a CUDA device with 24 GB')",
    "wrong_type": "return 3",
    "old_protocol": "return p.Card(protocol=99)",
    "leaves": "os._exit(0)",
    "leaves_with_words": "print('no such library', flush=True); print(); os._exit(3)",
    "exits": "sys.exit(3)",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "hangs": "time.sleep(600)",
    "eats": "block = bytearray(600_000_000); time.sleep(600)",
    "forks": f"subprocess.Popen({SLEEP}, start_new_session=False); return p.Card()",
    "daemon": f"subprocess.Popen({SLEEP_APART}, start_new_session=True); return p.Card()",
    "talks": "block = 'x' * 1_000_000; [print(block) for _ in range(1100)]; return p.Card()",
    "needs_missing": "import there_is_no_such_package",
    "full_disk": "raise OSError(28, 'No space left on device')",
}


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter that finds the plugins below, as one of a plugin's environment finds its own."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name, body in PLUGINS.items():
        (folder / f"plugin_{name}.py").write_text(CARD + body + "\n")
    (folder / "plugin_unknown_hook.py").write_text("import pertharness as p\n@p.hookimpl\ndef descrybe(): pass\n")
    (folder / "plugin_unknown_argument.py").write_text("import pertharness as p\n@p.hookimpl\ndef fit(trainn): pass\n")
    (folder / "plugin_empty.py").write_text("")
    script = tmp_path / "python"
    find = f"import sys; sys.path.insert(0, {str(folder)!r})"
    run = f"{find}; from pertharness.worker.main import main; sys.exit(main(sys.argv[6:]))"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W ignore -c "{run}" "$@"\n')
    script.chmod(0o755)
    return script


def card_node(name: str, python: Path, *, cheap: bool = False, needs: tuple[str, ...] = (), **limits: float) -> Node:
    ref = PluginRef(name="test", module=f"plugin_{name}", version="1")
    job = Job(key=f"key-{name}", stage="cards", plugin=ref, threads=1)
    return Node(job=job, python=python, title=name, cheap=cheap, needs=needs, **limits)


def make_runner(store: Store, **options: Any) -> Runner:
    return Runner(store, local_executor(store.root, isolation="none"), **options)


def run(store: Store, *nodes: Node, **options: Any) -> dict[str, str]:
    outcomes = make_runner(store, **options).run(nodes)
    return {key.removeprefix("key-"): outcome.state for key, outcome in outcomes.items()}


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("good", "done", []),
        ("raises", "failed", ["ValueError", "no such thing"]),
        ("skips", "skipped", ["needs a CUDA device with 24 GB"]),
        ("wrong_type", "invalid", ["describe", "int", "Card"]),
        ("old_protocol", "invalid", ["99", "protocol"]),
        ("unknown_hook", "invalid", ["descrybe"]),
        ("unknown_argument", "invalid", ["trainn"]),
        ("empty", "invalid", ["describe", "hookimpl"]),
        ("exits", "failed", ["SystemExit", "3"]),
        ("leaves", "crashed", ["without a result"]),
        ("leaves_with_words", "crashed", ["exit status 3 and without a result; its last output: no such library"]),
        ("killed", "crashed", ["SIGKILL", "memory"]),
        ("needs_missing", "failed", ["there_is_no_such_package"]),
    ],
)
def test_each_fault_ends_in_its_state_with_a_message(
    name: str, state: str, words: list[str], python: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    outcome = make_runner(store).run([card_node(name, python)])[f"key-{name}"]
    assert outcome.state == state
    for word in words:
        assert word in outcome.message
    status = store.status("cards", f"key-{name}")
    assert status is not None
    assert status.state == state
    assert not list((store.root / "work").iterdir())


@pytest.mark.parametrize("cheap", [True, False])
def test_an_artefact_is_not_read_again_while_nobody_touched_it(cheap: bool, python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    assert run(store, card_node("good", python, cheap=cheap)) == {"good": "done"}
    status = store.status("cards", "key-good")
    assert status is not None
    facts = (store.record("cards", "key-good") / "card.json").stat()
    assert status.artefacts["card.json"].identity == identity_of(facts)
    assert facts.st_mode & 0o777 == 0o444


def test_a_plugin_that_hangs_times_out(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    assert run(store, card_node("hangs", python, timeout_s=2.0)) == {"hangs": "timeout"}


def test_a_plugin_that_eats_memory_is_stopped_at_its_limit(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    outcome = make_runner(store).run([card_node("eats", python, memory_mb=400.0)])["key-eats"]
    assert (outcome.state, outcome.status and outcome.status.type) == ("crashed", "MemoryLimit")
    assert "400 MB" in outcome.message


def test_a_child_that_stays_is_ended_with_its_worker(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    before = time.monotonic()
    assert run(store, card_node("forks", python)) == {"forks": "done"}
    assert time.monotonic() - before < 300
    import psutil

    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == SLEEP]


def test_a_child_in_a_session_of_its_own_is_ended_too(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    assert run(store, card_node("daemon", python)) == {"daemon": "done"}
    import psutil

    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == SLEEP_APART]
    assert "left behind" in (store.record("cards", "key-daemon") / "log.txt").read_text()


def test_a_gigabyte_of_output_does_not_fill_the_disk(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    assert run(store, card_node("talks", python)) == {"talks": "done"}
    log = store.record("cards", "key-talks") / "log.txt"
    assert log.stat().st_size < 1_000_000_000
    assert b"the log was cut here" in log.read_bytes()


def test_what_a_plugin_prints_is_in_its_log(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    run(store, card_node("noisy", python))
    assert (store.record("cards", "key-noisy") / "log.txt").read_text() == "hello from the plugin\n"


def test_a_crash_in_a_shared_process_costs_the_others_nothing(python: Path, tmp_path: Path) -> None:
    """Three cheap jobs of one plugin in one process: the second dies, the third is done by the next process."""
    store = Store.open(tmp_path / "store")
    ref = PluginRef(name="test", module="plugin_dies_second", version="1")
    (tmp_path / "plugins" / "plugin_dies_second.py").write_text(
        CARD + "if 'key-b' in os.getcwd(): os._exit(9)\n    return p.Card()\n"
    )
    jobs = {x: Job(key=f"key-{x}", stage="cards", plugin=ref) for x in "abc"}
    nodes = [Node(job=job, python=python, title=x, cheap=True) for x, job in jobs.items()]
    assert run(store, *nodes) == {"a": "done", "b": "crashed", "c": "done"}


def test_what_is_in_the_store_is_not_done_again_unless_asked_for(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    nodes = [card_node("good", python), card_node("raises", python)]
    first = make_runner(store).run(nodes)
    again = make_runner(store).run(nodes)
    retried = make_runner(store, retry=frozenset({"failed"})).run(nodes)
    assert [outcome.fresh for outcome in first.values()] == [True, True]
    assert [outcome.fresh for outcome in again.values()] == [False, False]
    assert {key: outcome.fresh for key, outcome in retried.items()} == {"key-good": False, "key-raises": True}


def test_what_waits_for_a_failed_job_gets_its_state_and_words(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    nodes = [card_node("raises", python), card_node("good", python, needs=("key-raises",))]
    outcomes = make_runner(store).run(nodes)
    assert outcomes["key-good"].state == "failed"
    assert "no such thing" in outcomes["key-good"].message
    assert store.status("cards", "key-good") is None


def test_a_damaged_record_is_made_again(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    run(store, card_node("good", python))
    card = store.record("cards", "key-good") / "card.json"
    damaged = card.read_text().replace("1", "2", 1)  # of the same size
    card.write_text(damaged)
    outcome = make_runner(store).run([card_node("good", python)])["key-good"]
    assert (outcome.state, outcome.fresh) == ("done", True)
    assert json.loads((store.record("cards", "key-good") / "card.json").read_text())["protocol"] == 1


def test_a_full_disk_stops_the_run_and_leaves_no_status(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with pytest.raises(DiskFullError, match="free some disk space"):
        make_runner(store).run([card_node("full_disk", python)])
    assert store.status("cards", "key-full_disk") is None


def test_two_runs_on_one_store_do_each_job_once(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    (tmp_path / "plugins" / "plugin_slow.py").write_text(CARD + "time.sleep(1); return p.Card()\n")
    results: list[dict[str, bool]] = []

    def go() -> None:
        outcomes = make_runner(store).run([card_node("slow", python), card_node("good", python)])
        assert {outcome.state for outcome in outcomes.values()} == {"done"}
        results.append({key: outcome.fresh for key, outcome in outcomes.items()})

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for key in ("key-slow", "key-good"):
        assert sorted(result[key] for result in results) == [False, True]


RUNNER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_runner import card_node
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.runner import Runner
from pertharness.host.store.records import Store
store = Store.open(Path(sys.argv[2]))
Runner(store, local_executor(store.root, isolation="none")).run([card_node("hangs", Path(sys.argv[3]))])
"""


def test_a_killed_runner_takes_its_worker_along_and_leaves_nothing_half(python: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    arguments = [str(Path(__file__).parent), str(store.root), str(python)]
    with subprocess.Popen([sys.executable, "-c", RUNNER, *arguments]) as runner:
        started = store.work("key-hangs") / "started.json"
        deadline = time.monotonic() + 300
        while not started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        worker = json.loads(started.read_text())["pid"]
        os.kill(runner.pid, signal.SIGKILL)
    deadline = time.monotonic() + 300
    while not has_ended(worker):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert store.status("cards", "key-hangs") is None
    assert run(store, card_node("hangs", python, timeout_s=1.0)) == {"hangs": "timeout"}


SPY = """
import os, sys
import pertharness as p
@p.hookimpl
def describe():
    print(sys.argv, os.getcwd(), *(f"{name}={value}" for name, value in os.environ.items()))
    return p.Card()
"""


def test_jobs_of_another_stage_or_split_never_share_a_warm_worker(python: Path, tmp_path: Path) -> None:
    """A score job reads the truth, and another split trains on what this one holds out."""
    first, second = tmp_path / "1" / "split.json", tmp_path / "2" / "split.json"
    ref = PluginRef(name="test", module="plugin_good", version="1")

    def node(key: str, stage: str, **inputs: Path) -> Node:
        job = Job.model_validate({"key": key, "stage": stage, "plugin": ref, "inputs": inputs})
        return Node(job=job, python=python, title=key, cheap=True)

    model = node("a", "predictions", split=first)
    assert kind_of(model) == kind_of(node("b", "predictions", split=first))
    assert kind_of(model) != kind_of(node("c", "predictions", split=second))
    assert kind_of(model) != kind_of(node("d", "scores", split=first))
    assert kind_of(node("e", "scores", split=first)) == kind_of(node("f", "scores", split=second))


def test_a_worker_is_told_of_no_other_job_and_of_no_folder_of_the_user(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugins" / "plugin_spy.py").write_text(SPY)
    monkeypatch.setenv("OLDPWD", "/secret")
    monkeypatch.setenv("PERTHARNESS_DATA", "/secret")
    store = Store.open(tmp_path / "store")
    ref = PluginRef(name="test", module="plugin_spy", version="1")
    nodes = [
        Node(job=Job(key=f"spied-{x}", stage="cards", plugin=ref), python=python, title=x, cheap=True) for x in "ab"
    ]
    assert set(run(store, *nodes).values()) == {"done"}
    for one, other in (("a", "b"), ("b", "a")):
        said = (store.record("cards", f"spied-{one}") / "log.txt").read_text()
        assert f"spied-{other}" not in said
        assert f"spied-{one}" in said  # its own folder is where it works
        assert "/secret" not in said
        assert f" PWD={Path.cwd()} " not in said


@pytest.mark.parametrize(("before", "now", "kept"), [
    ("none", "landlock", False), ("none", "none", True), ("landlock", "landlock", True), ("bwrap", "landlock", True),
    ("landlock", "bwrap", False), ("landlock", "none", True),
])  # fmt: skip
def test_what_a_try_left_that_was_isolated_by_less_is_not_kept(
    before: Mechanism, now: Mechanism, kept: bool, python: Path, tmp_path: Path
) -> None:
    """It may have taken it from where the next try may not read."""
    node, work = card_node("good", python), tmp_path / "work"
    lay_out(node, work, before)
    (work / "scratch").mkdir()
    (work / "scratch" / "stolen").touch()
    lay_out(node, work, now)
    assert (work / "scratch" / "stolen").exists() == kept
