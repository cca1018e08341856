"""Leases between processes."""

import subprocess
import sys
from pathlib import Path

from pertharness.host.store.leases import take_lease

HOLD = """
import sys
from pathlib import Path
from pertharness.host.store.leases import take_lease
lease = take_lease(Path(sys.argv[1]))
print("held" if lease else "busy", flush=True)
sys.stdin.read()
"""


def test_a_second_taker_is_refused_until_the_first_releases(tmp_path: Path) -> None:
    first = take_lease(tmp_path / "a.lock")
    assert first is not None
    assert take_lease(tmp_path / "a.lock") is None
    first.release()
    again = take_lease(tmp_path / "a.lock")
    assert again is not None
    again.release()
    assert list(tmp_path.iterdir()) == []


def test_another_process_is_refused_and_a_killed_one_leaves_no_lease(tmp_path: Path) -> None:
    path = tmp_path / "ünï code.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert take_lease(path) is None
        holder.kill()
        holder.wait()
        lease = take_lease(path)
        assert lease is not None
        lease.release()


def test_a_child_that_inherits_the_lease_keeps_it_after_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lease = take_lease(path)
    assert lease is not None
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[lease.descriptor]
    )
    # As after the death of this process: the descriptor is closed without being unlocked.
    import os

    os.close(lease.descriptor)
    assert take_lease(path) is None
    assert child.stdin is not None
    child.stdin.close()
    child.wait()
    again = take_lease(path)
    assert again is not None
    again.release()
