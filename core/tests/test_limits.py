"""The process of a job from outside: whatever it leaves in its folders, the watcher touches nothing else and lives."""

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from permissions import as_a_user
from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution import limits as module
from pertharness.host.execution.batch import Launch
from pertharness.host.execution.limits import _add_to_log, _cut
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.execution.runner import Runner
from pertharness.host.execution.sandbox import has_bwrap
from pertharness.host.store.records import Store

SLEEP = ["sleep", f"602.{os.getpid()}"]
EXCHANGE, RENAMEAT2 = 2, 316
linux_alone = pytest.mark.skipif(sys.platform != "linux", reason="there are no subreapers on this system")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Return a file of the user's, longer than logs may be."""
    path = tmp_path / "victim"
    path.write_bytes(b"x" * 10_000)
    return path


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    job = Job(key="key", stage="cards", plugin=PluginRef(name="p", module="p", version="1"))
    (tmp_path / "key" / "out").mkdir(parents=True)
    return Launch(job=job, folder=tmp_path / "key")


def second_name(log: Path, victim: Path) -> None:
    log.hardlink_to(victim)


def link(log: Path, victim: Path) -> None:
    log.symlink_to(victim)


def link_in_place_of_folder(log: Path, victim: Path) -> None:
    log.parent.rmdir()
    victim.rename(victim.with_name("log.txt"))
    log.parent.symlink_to(victim.parent)
    victim.symlink_to("log.txt")


def pipe(log: Path, victim: Path) -> None:
    os.mkfifo(log)


def folder(log: Path, victim: Path) -> None:
    log.mkdir()


def link_to_itself(log: Path, victim: Path) -> None:
    log.symlink_to(log.name)


ODD = pytest.mark.parametrize("put", [link, second_name, link_in_place_of_folder, pipe, folder, link_to_itself])


@ODD
@pytest.mark.timeout(300)
def test_what_is_no_log_is_neither_cut_nor_written_nor_waited_for(
    put: Callable[[Path, Path], None], launch: Launch, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOG_LIMIT", 100)
    log = launch.folder / "out" / "log.txt"
    put(log, victim)
    _cut(log)
    _add_to_log(launch, "a line\n")
    assert module._tail(log) == ""
    assert victim.read_bytes() == b"x" * 10_000


@linux_alone
def test_a_log_that_takes_turns_with_a_link_does_not_lend_its_length(
    launch: Launch, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at is what is cut, however often the two change their names in between."""
    monkeypatch.setattr(module, "LOG_LIMIT", 100)
    log, other = launch.folder / "out" / "log.txt", launch.folder / "out" / "other"
    log.write_bytes(b"y" * 50)
    other.symlink_to(victim)
    libc, stop = ctypes.CDLL(None), threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            libc.syscall(RENAMEAT2, -100, os.fsencode(log), -100, os.fsencode(other), EXCHANGE)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        end = time.monotonic() + 2
        while time.monotonic() < end and victim.stat().st_size == 10_000:
            _cut(log)
    finally:
        stop.set()
        thread.join()
    assert victim.read_bytes() == b"x" * 10_000


def test_a_log_that_is_one_is_cut_and_added_to(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the tests above."""
    monkeypatch.setattr(module, "LOG_LIMIT", 100)
    log = launch.folder / "out" / "log.txt"
    log.write_bytes(b"y" * 101)
    _cut(log)
    assert log.read_bytes().startswith(b"y" * 50 + b"\n[pertharness: the log was cut")
    _add_to_log(launch, "a line\n")
    assert module._tail(log).endswith("too large]\na line\n")


def test_word_of_a_job_that_runs_is_left_where_there_is_a_place_for_it(launch: Launch) -> None:
    place = launch.folder / "started.json"
    module._note_start(launch, "{}")
    assert place.read_text() == "{}"
    place.unlink()
    place.mkdir()
    module._note_start(launch, "{}")
    shutil.rmtree(launch.folder)
    launch.folder.touch()
    module._note_start(launch, "{}")
    assert launch.folder.is_file()


# --- with a runner


CARD = f"""
import os, subprocess
from pathlib import Path
import pertharness as p
@p.hookimpl
def describe():
    out = Path.home().parent / "out"
    log = out / "log.txt"
    LEAVE
    return p.Card()
def stay():
    subprocess.Popen({SLEEP}, start_new_session=True)
"""


def node(python: Path, **limits: float) -> Node:
    ref = PluginRef(name="test", module="leaving", version="1")
    return Node(job=Job(key="key", stage="cards", plugin=ref), python=python, title="card", **limits)  # type: ignore[arg-type]


def outcome_of(code: str, python_with: Callable[[str, str], Path], folder: Path, **limits: float) -> Outcome:
    python = python_with("leaving", CARD.replace("LEAVE", code))
    store = Store.open(folder / "store")
    return Runner(store, local_executor(store.root, isolation="none")).run([node(python, **limits)])["key"]


@linux_alone
@pytest.mark.parametrize(
    "code",
    ["log.unlink(); log.symlink_to(VICTIM); stay()", "log.unlink(); os.link(VICTIM, log); stay()",
     "log.unlink(); os.mkfifo(log); stay()", "log.unlink(); log.mkdir(); (log / 'x').touch(); stay()"],
    ids=["link", "second name", "pipe", "folder"],
)  # fmt: skip
@pytest.mark.timeout(300)
def test_a_child_that_stays_is_noted_in_no_other_file(
    code: str, python_with: Callable[[str, str], Path], victim: Path, tmp_path: Path
) -> None:
    outcome = outcome_of(code.replace("VICTIM", repr(str(victim))), python_with, tmp_path)
    assert (outcome.state, outcome.message) == ("done", "")
    assert victim.read_bytes() == b"x" * 10_000
    assert (tmp_path / "store" / "cards" / "key" / "log.txt").read_bytes() == b""


def test_a_record_is_made_where_a_job_put_folders_under_the_names_of_its_files(
    python_with: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """What is not sandboxed may write beside its own folders, too."""
    names = ("job.json", "log.txt", "status.json", "started.json", "card.json", "caches.zip")
    code = "\n    ".join([
        f"for name in {names}:",
        "    path = out.parent / name",
        "    path.unlink(missing_ok=True)",
        "    (path / 'in').mkdir(parents=True)",
    ])  # fmt: skip
    outcome = outcome_of(code, python_with, tmp_path)
    assert (outcome.state, outcome.message) == ("done", "")
    record = tmp_path / "store" / "cards" / "key"
    assert sorted(path.name for path in record.iterdir()) == ["card.json", "job.json", "log.txt", "status.json"]
    assert all(path.is_file() for path in record.iterdir())


DIG = """[os.mkdir('d') or os.chdir('d') for _ in range(1500)]"""


@pytest.mark.parametrize("isolation", ["none", "auto"])
def test_deep_folders_that_a_job_leaves_end_neither_it_nor_the_next(
    isolation: str, python_with: Callable[[str, str], Path], tmp_path: Path
) -> None:
    code = "; ".join(f"os.chdir(out.parent / {name!r}); {DIG}" for name in ("out", "scratch", "home"))
    python = python_with("leaving", CARD.replace("LEAVE", f"{code}; os.chdir('/')"))
    store = Store.open(tmp_path / "store")
    for _ in range(2):
        runner = Runner(store, local_executor(store.root, isolation=isolation), retry=frozenset(("done",)))
        outcome = runner.run([node(python)])["key"]
        assert (outcome.fresh, outcome.state, outcome.message) == (True, "done", "")
    assert sorted(path.name for path in store.record("cards", "key").iterdir()) == [
        "card.json", "job.json", "log.txt", "status.json",
    ]  # fmt: skip
    assert not list((store.root / "work").glob("key*/"))


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("out.chmod(0)", "failed"),  # it has no way to leave its claim
        ("import atexit; real = os._exit; atexit.register(os.chmod, out, 0)", "done"),
        ("import atexit; atexit.register(os.chmod, out.parent, 0)", "done"),
        ("(out.parent / 'scratch').chmod(0); (out.parent / 'home').chmod(0)", "done"),
    ],
)
def test_folders_that_a_job_closed_are_opened_again(
    code: str, state: str, python_with: Callable[[str, str], Path]
) -> None:
    python = python_with("leaving", CARD.replace("LEAVE", code))
    words = as_a_user(f"""
from pertharness.host.execution.runner import Runner
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node
from pertharness.host.store.records import Store
from pertharness.contract.jobs import Job, PluginRef
job = Job(key="key", stage="cards", plugin=PluginRef(name="test", module="leaving", version="1"))
store = Store.open(top / "store")
for again in (frozenset(), frozenset(("crashed", "failed", "done"))):
    node = Node(job=job, python=Path({str(python)!r}), title="")
    outcome = Runner(store, local_executor(store.root, isolation="none"), retry=again).run([node])
    print(outcome["key"].fresh, outcome["key"].state, outcome["key"].message)
print([path.name for path in (store.root / "work").iterdir() if path.is_dir()])
""")
    assert words.count(f"True {'crashed' if state == 'failed' else state} ") == 2, words
    assert words.endswith("[]\n")


# --- in bubblewrap


@pytest.fixture
def wrapped(launch: Launch, tmp_path: Path) -> Iterator[Callable[[str, bool], str]]:
    """Carry out a command in bubblewrap as a watcher does that has a process to itself; return how it ended."""
    if not has_bwrap():
        pytest.skip("no bubblewrap on this machine")

    def carry_out(command: str, is_wrapped: bool) -> str:
        code = f"""
import socket, subprocess, sys, tempfile
from pathlib import Path
from pertharness.host.execution.batch import Launch
from pertharness.host.execution.bwrap import bwrap_command
from pertharness.host.execution.limits import Group
from pertharness.host.execution.tree import become_subreaper
from pertharness.worker.landlock import Grants
become_subreaper()
launch = Launch.model_validate_json({launch.model_dump_json()!r})
(launch.folder / "out" / "log.txt").write_text("")
command, descriptors = bwrap_command(["sh", "-c", {command!r}], Grants(read=("/",), write=(str(launch.folder),)))
here, runner = socket.socketpair()
with tempfile.TemporaryFile() as output:
    popen = subprocess.Popen(command, stdout=output, stderr=output, pass_fds=descriptors, start_new_session=True)
    popen.returncode = 0
    more = {{"wrapped": True}} if {is_wrapped} else {{}}
    [end] = Group(here, lambda message: None, (launch,), popen.pid, output, (), **more).wait()
print(end.state, end.type, end.message, "|", (launch.folder / "out" / "log.txt").read_text())
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield carry_out


@pytest.mark.parametrize(
    ("number", "words"),
    [(11, "crashed SIGSEGV the worker was ended by the signal SIGSEGV | \n"),
     (9, "SIGKILL; the system does this to a process when memory runs out | \n")],
)  # fmt: skip
def test_a_signal_in_bubblewrap_has_its_name(number: int, words: str, wrapped: Callable[[str, bool], str]) -> None:
    assert words in wrapped(f"kill -{number} $$", True)
    assert f"exit status {128 + number}" in wrapped(f"kill -{number} $$", False)  # the control: of another process


def test_an_exit_status_in_bubblewrap_stays_one(wrapped: Callable[[str, bool], str]) -> None:
    assert "exit status 3 and" in wrapped("exit 3", True)
    assert "exit status 255 and" in wrapped("exit 255", True)


@linux_alone
def test_bubblewraps_own_processes_are_not_left_behind(wrapped: Callable[[str, bool], str]) -> None:
    """Its first process ends a little later than the one that is waited for; with it, all that a job left there."""
    words = [wrapped(command, True) for command in ("exit 0", "exit 0", f"{shlex.join(SLEEP)} & exit 0")]
    assert not any("left behind" in each for each in words)
    running = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert shlex.join(SLEEP) not in running
