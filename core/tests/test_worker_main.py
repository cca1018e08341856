"""The worker's main: whatever a plugin does, its job has a status, and the next job is none the worse for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pertharness.contract.jobs import Claim, Job, PluginRef
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.execution.runner import Runner
from pertharness.host.execution.start import worker_command
from pertharness.host.store.records import Store
from pertharness.worker.main import USAGE, main

# What a plugin does before it gives its card -> state of the job, and words of its message.
RUDE: dict[str, tuple[str, str, list[str]]] = {
    "prints_invalid_utf8": (r"os.write(1, b'caf\xe9 \xff\n'); raise ValueError('after')", "failed", ["after"]),
    "prints_half_a_surrogate": (r"print('\ud800')", "done", []),
    "closes_stdout": ("sys.stdout.close(); sys.stderr.close()", "done", []),
    "detaches_stdout": ("sys.stdout.detach()", "done", []),
    "has_no_stdout": ("sys.stdout = sys.stderr = None", "done", []),
    "replaces_stdout": ("sys.stdout = object()", "done", []),
    "closes_the_log": ("os.close(1); os.close(2)", "done", []),
    "removes_the_log": ("os.unlink('../out/log.txt'); raise ValueError('after')", "failed", ["after"]),
    "changes_the_folder": ("os.chdir('/')", "done", []),
    "removes_its_scratch": ("shutil.rmtree(os.getcwd())", "done", []),
    "removes_its_job": (
        "shutil.rmtree(pathlib.Path.cwd().parent)",
        "crashed",
        ["without a result", "FileNotFoundError"],
    ),
    "speechless": ("raise Speechless", "failed", ["Speechless", "is not available"]),
    "speechless_skip": ("raise SpeechlessSkip", "skipped", ["is not available"]),
    "half_a_surrogate": (r"raise ValueError('\udcff')", "failed", ["ValueError", r"\udcff"]),
    "base_exception": ("raise Odd('odd')", "failed", ["Odd: odd"]),
    "interrupts_itself": ("raise KeyboardInterrupt", "failed", ["KeyboardInterrupt"]),
    "leaves_a_generator": ("raise GeneratorExit('gone')", "failed", ["GeneratorExit: gone"]),
    "stops": ("raise StopIteration('over')", "failed", ["StopIteration"]),
    "exits": ("sys.exit('bye')", "failed", ["SystemExit: bye"]),
    "recurses": ("f = lambda: f(); f()", "failed", ["RecursionError"]),
    "warns": ("warnings.warn('old')", "done", []),
    "makes_warnings_errors": ("warnings.simplefilter('error')", "done", []),
}
POLITE = "print('hello', os.getpid()); warnings.warn('mild'); return p.Card()"
PLUGIN = """
import os, pathlib, shutil, sys, warnings
import pertharness as p

class Odd(BaseException): pass
class Speechless(Exception):
    def __str__(self): raise RuntimeError("no words")
class SpeechlessSkip(p.Skip):
    def __str__(self): raise RuntimeError("no words")

@p.hookimpl
def describe():
    globals()[pathlib.Path.cwd().parent.name.split(".")[0].split("-")[0]]()
    return p.Card()
"""


def make_interpreter(folder: Path) -> Path:
    """Write a plugin, and an interpreter that finds it, as one of a plugin's environment finds its own."""
    bodies = {name: body for name, (body, _, _) in RUDE.items()}
    functions = [f"def {name}():\n    {body}\n" for name, body in {**bodies, "polite": POLITE}.items()]
    hang = "def hangs():\n    import time; print('waiting'); time.sleep(60)\n"
    (folder / "plugin_rude.py").write_text("\n".join([PLUGIN, *functions, hang]))
    script = folder / "python"
    find = f"import runpy, sys; sys.path.insert(0, {str(folder)!r}); del sys.argv[1:6]"
    run = "runpy.run_module('pertharness.worker', run_name='__main__')"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{find}; {run}" "$@"\n')
    script.chmod(0o755)
    return script


def make_node(key: str, python: Path) -> Node:
    ref = PluginRef(name="rude", module="plugin_rude", version="1")
    return Node(job=Job(key=key, stage="cards", plugin=ref), python=python, title=key, cheap=True, timeout_s=600)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Outcome]]:
    """One worker that did all of the above, with a polite job after each."""
    folder = tmp_path_factory.mktemp("rude")
    python, store = make_interpreter(folder), Store.open(folder / "store")
    keys = [key for name in RUDE for key in (name, f"polite-{name}")]
    executor = local_executor(store.root, isolation="none")
    return store, Runner(store, executor).run([make_node(key, python) for key in keys])


@pytest.mark.parametrize("name", RUDE)
def test_whatever_a_plugin_does_its_job_has_a_status(done: tuple[Store, dict[str, Outcome]], name: str) -> None:
    store, outcomes = done
    _, state, words = RUDE[name]
    outcome = outcomes[name]
    assert outcome.state in state.split(" or "), outcome.message
    for word in words:
        assert word in outcome.message
    status = store.status("cards", name)
    assert status is not None
    assert status.state == outcome.state
    assert not (store.record("cards", name) / "scratch").exists()


@pytest.mark.parametrize("name", RUDE)
def test_the_next_job_of_the_process_is_none_the_worse(done: tuple[Store, dict[str, Outcome]], name: str) -> None:
    store, outcomes = done
    key = f"polite-{name}"
    log = (store.record("cards", key) / "log.txt").read_text()
    assert outcomes[key].state == "done", outcomes[key].message
    assert log.startswith("hello ")
    assert "UserWarning: mild" in log


def test_each_had_a_process_of_its_own(done: tuple[Store, dict[str, Outcome]]) -> None:
    store, _ = done
    logs = [(store.record("cards", f"polite-{name}") / "log.txt").read_text() for name in RUDE]
    assert len({log.split()[1] for log in logs}) == len(RUDE)


def test_a_log_of_odd_bytes_is_kept_and_its_end_can_be_read(done: tuple[Store, dict[str, Outcome]]) -> None:
    store, _ = done
    status = store.status("cards", "prints_invalid_utf8")
    assert status is not None
    assert status.log_tail == "caf\ufffd \ufffd\n"
    assert (store.record("cards", "prints_invalid_utf8") / "log.txt").read_bytes() == b"caf\xe9 \xff\n"
    assert (store.record("cards", "prints_half_a_surrogate") / "log.txt").read_text() == "\\ud800\n"


def test_a_failure_has_its_traceback_down_to_the_plugins_line(done: tuple[Store, dict[str, Outcome]]) -> None:
    status = done[0].status("cards", "base_exception")
    assert status is not None
    assert "raise Odd('odd')" in status.traceback
    assert "plugin 'rude', cards" in status.message


def test_ctrl_c_ends_a_worker_without_a_status(tmp_path: Path) -> None:
    """A KeyboardInterrupt that a plugin raises is a failure of its own; one from the keyboard is nobody's result."""
    python, folder = make_interpreter(tmp_path), tmp_path / "hangs"
    folder.mkdir()
    (folder / "job.json").write_text(make_node("hangs", python).job.model_dump_json())
    with subprocess.Popen([*worker_command(python), folder / "job.json"]) as worker:
        deadline = time.monotonic() + 300
        log = folder / "out" / "log.txt"
        while "waiting" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(worker.pid, signal.SIGINT)
    assert worker.returncode == -signal.SIGINT
    assert not (folder / "out" / "result.json").exists()


@pytest.mark.parametrize("arguments", [[], ["no/such/job.json"]])
def test_a_worker_without_jobs_says_how_it_is_called(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == USAGE
    assert "python -I -m pertharness.worker JOB.json" in capsys.readouterr().err


def test_a_job_of_another_protocol_is_refused_by_version(tmp_path: Path) -> None:
    python, folder = make_interpreter(tmp_path), tmp_path / "later"
    folder.mkdir()
    job = make_node("hangs", python).job.model_copy(update={"protocol": 99})
    (folder / "job.json").write_text(job.model_dump_json())
    subprocess.run([*worker_command(python), folder / "job.json"], check=True, timeout=300)
    claim = Claim.model_validate_json((folder / "out" / "result.json").read_text())
    assert claim.state == "invalid"
    assert "protocol 99" in claim.message
