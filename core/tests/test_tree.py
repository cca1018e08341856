"""Processes below a watcher: all of them are known, and all of them end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pertharness.host.execution.tree import children_of, descendants, resident_mb

# Each is carried out by an interpreter of its own, which plays the watcher.
WATCHER = """
import os, subprocess, sys, time
from pathlib import Path
from pertharness.host.execution.tree import become_subreaper, children_of, descendants, end_all
from pertharness.host.execution.tree import die_with_parent, has_ended

def daemon(seconds):
    "Start a process that forks twice and has a session of its own; return once it is there."
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write_end, str(os.getpid()).encode())
            time.sleep(seconds)
            os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(read_end, 32))

"""
linux_alone = pytest.mark.skipif(sys.platform != "linux", reason="there are no subreapers on this system")


def watch(code: str, timeout_s: float = 300) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", WATCHER + code], capture_output=True, text=True, timeout=timeout_s,
        start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_children_and_theirs_are_known() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        end = time.monotonic() + 300
        while not psutil.Process(process.pid).children():
            assert time.monotonic() < end
            time.sleep(0.02)
        [grandchild] = children_of(process.pid)
        assert process.pid in children_of(os.getpid())
        assert {process.pid, grandchild} <= set(descendants(os.getpid()))
        assert process.pid not in descendants(os.getpid(), skip=(process.pid,))
        assert grandchild in descendants(os.getpid(), skip=(process.pid,))
        while resident_mb([grandchild]) < 1:  # it has been forked, and is not yet the interpreter it becomes
            assert time.monotonic() < end
            time.sleep(0.02)
        assert resident_mb([process.pid, grandchild]) > resident_mb([grandchild])
    finally:
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.kill()
        process.wait()


def test_a_process_that_is_gone_has_no_children_and_no_size() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert children_of(process.pid) == []
    assert resident_mb([process.pid]) == 0


@linux_alone
def test_a_subreaper_gets_what_others_left_and_ends_it() -> None:
    words = watch("""
assert become_subreaper()
pid = daemon(600)
assert pid in children_of(os.getpid()), "not adopted"
ended = end_all()
assert not Path(f"/proc/{pid}").exists()
print(ended.killed, descendants(os.getpid()))
""")
    assert words == "1 []\n"


@linux_alone
def test_a_process_that_is_no_subreaper_loses_what_others_left() -> None:
    """The control of the test above."""
    words = watch("""
pid = daemon(600)
print(pid in descendants(os.getpid()), Path(f"/proc/{pid}").exists())
os.kill(pid, 9)
""")
    assert words == "False True\n"


@linux_alone
def test_what_is_kept_lives_on_without_what_is_below_it() -> None:
    """A job's process is the child of a warm worker, which is kept."""
    words = watch("""
become_subreaper()
kept = subprocess.Popen(["sh", "-c", "sleep 600 & read forever"], stdin=subprocess.PIPE)
while not (below := children_of(kept.pid)): time.sleep(0.01)
other = subprocess.Popen(["sleep", "600"])
ended = end_all(keep=(kept.pid,))
running = [pid for pid in (other.pid, *below, kept.pid) if not has_ended(pid)]
print(ended.killed, running == [kept.pid])
end_all()
""")
    assert words == "2 True\n"


@linux_alone
def test_a_process_that_has_ended_by_itself_is_reaped_and_not_counted() -> None:
    words = watch("""
become_subreaper()
process = subprocess.Popen([sys.executable, "-c", "sum(range(10**6))"])
os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
ended = end_all()
print(ended.killed, ended.cpu_s > 0)
process.returncode = 0
""")
    assert words == "0 True\n"


@linux_alone
def test_a_bomb_of_forks_is_ended() -> None:
    """Processes that start two others each, six generations deep, in sessions of their own, and never wait."""
    words = watch("""
become_subreaper()
if os.fork() == 0:
    generation = 0
    while generation < 6:
        generation += 1
        for _ in range(2):
            if os.fork() == 0:
                os.setsid()
                break
        else:
            time.sleep(600)
    time.sleep(600)
while len(descendants(os.getpid())) <= 10: time.sleep(0.001)  # and more to come
ended = end_all()
time.sleep(0.2)
print(ended.killed > 10, descendants(os.getpid()))
""")
    assert words == "True []\n"


@linux_alone
def test_a_process_ends_with_the_one_that_started_it() -> None:
    words = watch("""
read_end, write_end = os.pipe()
parent = os.fork()
if parent == 0:
    if os.fork() == 0:
        die_with_parent()
        os.write(write_end, str(os.getpid()).encode())
        time.sleep(600)
    time.sleep(600)
print(os.read(read_end, 32).decode())
os.kill(parent, 9)
os.waitpid(parent, 0)
""")
    end = time.monotonic() + 300
    while Path(f"/proc/{words.strip()}").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
