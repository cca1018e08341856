"""A plugin that looks for the truth by every channel its author knows: what each mechanism does to it.

What it should come to is what docs/threat-model.md says. A channel that is closed proves nothing unless it can be seen
open: either the same plugin has it where nothing but its files keeps it from the truth, or, where that alone closes
it, a process that is given what such a process never gets.
"""

import contextlib
import fcntl
import importlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pertharness.host.execution.sandbox import has_bwrap
from pertharness.host.execution.start import can_have_own_memory
from pertharness.worker.landlock import abi_version
from pertharness.worker.seccomp import NUMBERS
from spied_machine import SOURCES, Ground

THREATS = Path(__file__).parents[1] / "docs" / "threat-model.md"
ROW = re.compile(r"^\| (?P<channel>[^|]+?) \| (?P<none>[^|]+?) \| (?P<landlock>[^|]+?) \| (?P<bwrap>[^|]+?) \|")

pytestmark = pytest.mark.skipif(
    abi_version() < 6 or platform.machine() not in NUMBERS,
    reason=f"no Landlock of ABI 6 and seccomp on this machine (ABI {abi_version()})",
)


def needs(channel: str) -> str:
    """Return what this machine lacks for a channel to be shown; nothing where it lacks nothing."""
    yama = Path("/proc/sys/kernel/yama/ptrace_scope")
    limits = {
        "disks": not any(can_read(path) for path in [*Path("/dev").glob("[sv]d?"), *Path("/dev").glob("nvme?n?")]),
        "ptrace": yama.exists() and yama.read_text().strip() != "0",
        **dict.fromkeys(["raw packets", "packets of a link", "open_by_handle_at", "name of the machine"],
                        os.geteuid() != 0),
        "flags of files": not keeps_flags(),
        "processors of other processes": len(os.sched_getaffinity(0)) < 2,
        "message queues of POSIX": not Path("/proc/sys/fs/mqueue").is_dir(),
        "key rings": not Path("/proc/keys").exists(),
        "io_uring": not is_zero(Path("/proc/sys/kernel/io_uring_disabled")),
        "extended attributes": not keeps_attributes(), "leaving extended attributes": not keeps_attributes(),
        **dict.fromkeys([f"{what} of System V" for what in ("shared memory", "messages", "semaphores")],
                        not Path("/proc/sysvipc").is_dir()),
    }  # fmt: skip
    for name in ("process_vm_readv", "pidfd_getfd", "memory of other processes"):
        limits[name] = limits["ptrace"]
    return f"{channel}: not on this kernel, or not for this user" if limits.get(channel) else ""


def can_read(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return bool(file.read(1))
    except OSError:
        return False


def is_zero(path: Path) -> bool:
    return path.exists() and path.read_text().strip() == "0"


def keeps_attributes() -> bool:
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.setxattr(file.name, "user.spied", b"1")
        except OSError:
            return False
    return True


def keeps_flags() -> bool:
    with tempfile.NamedTemporaryFile() as file:
        try:
            fcntl.ioctl(file, 0x80086601, bytes(8))  # FS_IOC_GETFLAGS
        except OSError:
            return False
    return True


def listed_channels() -> dict[str, dict[str, str]]:
    """Return what the threat model says of each channel: mechanism -> ``open``, ``closed`` or ``partly``."""
    rows = [match for line in THREATS.read_text(encoding="utf-8").splitlines() if (match := ROW.match(line))]
    return {
        row["channel"]: {name: row[name].partition(" ")[0].rstrip(",;:") for name in ("none", "landlock", "bwrap")}
        for row in rows
        if row["none"].startswith(("open", "closed"))
    }


CHANNELS = listed_channels()
CLOSED_BY_FILES = tuple(name for name in CHANNELS if CHANNELS[name]["none"] == "closed")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with contextlib.ExitStack() as stack:
        yield Ground(tmp_path_factory.mktemp("ground"), stack)


@pytest.fixture(scope="module")
def unconfined(ground: Ground) -> dict[str, set[str]]:
    return ground.spied("none")


@pytest.fixture(scope="module")
def landlocked(ground: Ground) -> dict[str, set[str]]:
    return ground.spied("landlock")


@pytest.fixture(scope="module")
def beside(ground: Ground) -> dict[str, set[str]]:
    return ground.spied("landlock", beside=True)


@pytest.fixture(scope="module")
def wrapped(ground: Ground) -> dict[str, set[str]]:
    if not has_bwrap():
        pytest.skip("bubblewrap is not installed here, or may make no namespaces")
    return ground.spied("bwrap")


def expect(channel: str, mechanism: str, found: dict[str, set[str]]) -> None:
    """Check that a channel gives what the threat model says, and show what it gave in which hooks."""
    if why := needs(channel):
        pytest.skip(why)
    if "shared memory files" in channel and mechanism == "landlock" and not can_have_own_memory():
        pytest.skip(f"{channel}: this user may make no mount namespace")
    assert bool(found.get(channel)) == (CHANNELS[channel][mechanism] == "open"), found.get(channel)


each_channel = pytest.mark.parametrize("channel", CHANNELS)


def test_the_threat_model_lists_what_the_plugin_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SOURCES))
    tried = [importlib.import_module(f"spying_{part}").CHANNELS for part in ("files", "processes", "kernel")]
    assert list(CHANNELS) == [name for part in tried for name in part]
    assert {verdict for row in CHANNELS.values() for verdict in row.values()} == {"open", "closed"}


@each_channel
def test_a_channel_is_seen_open(channel: str, ground: Ground, unconfined: dict[str, set[str]]) -> None:
    expect(channel, "none", unconfined)
    if channel in CLOSED_BY_FILES:
        assert not ground.alone(CLOSED_BY_FILES, leaking=False)[channel]
        assert ground.alone(CLOSED_BY_FILES, leaking=True)[channel]


def test_the_plugin_looks_into_the_caches_and_the_tables_of_the_process(ground: Ground) -> None:
    left = ground.alone(CLOSED_BY_FILES, leaking=True)["memory left by the warm worker"]
    assert {"_read_means", "MYC+TP53"} <= {*left}


@each_channel
def test_landlock_does_what_the_threat_model_says(channel: str, landlocked: dict[str, set[str]]) -> None:
    expect(channel, "landlock", landlocked)


@each_channel
def test_so_it_does_to_a_plugin_beside_the_harness(channel: str, beside: dict[str, set[str]]) -> None:
    if channel == "start-up files of the environment":  # it is the harness's own, which has executed them itself
        assert beside[channel]
    else:
        expect(channel, "landlock", beside)


@each_channel
def test_bubblewrap_does_what_the_threat_model_says(channel: str, wrapped: dict[str, set[str]]) -> None:
    expect(channel, "bwrap", wrapped)


def test_what_outlives_a_job_would_replace_its_prediction(ground: Ground, tmp_path: Path) -> None:
    """The control of `assert_as_left`: the same process, which nobody ends, does what it is there for."""
    target = tmp_path / "prediction.h5ad"
    command = [sys.executable, str(SOURCES / "spying_daemon.py"), str(target), ground.bait.bait]
    subprocess.run(command, check=True, timeout=300)  # its child lives on
    written = tmp_path / "written.h5ad"
    written.write_text("what the model predicted", encoding="utf-8")
    written.rename(target)  # whole at once, else the process may replace it before the text is in it
    end = time.monotonic() + 300
    while target.read_text(encoding="utf-8") != Path(ground.bait.bait).read_text(encoding="utf-8"):
        assert time.monotonic() < end
        time.sleep(0.01)
