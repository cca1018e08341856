"""Landlock: what a process keeps, what it gives up, and that layers only take away."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from in_a_child import in_a_child
from pertharness.worker.landlock import (
    FIRST_RIGHTS,
    IOCTL_DEV,
    REFER,
    TRUNCATE,
    Grants,
    abi_version,
    handled_rights,
    restrict,
)
from pertharness.worker.proc import OWN_PROC, PROC, THREADS, hold_entries

ABI = abi_version()
needs_landlock = pytest.mark.skipif(ABI == 0, reason="no Landlock on this machine")
RUNTIME = tuple({sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", "/etc"})


def refused(function: Callable[[], object]) -> bool:
    try:
        function()
    except OSError:
        return True
    return False


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Return a folder for each kind of grant, with a file in it, and one that nothing grants."""
    made = {name: tmp_path / name for name in ("read", "listing", "write", "devices", "other")}
    for path in made.values():
        path.mkdir()
        (path / "file").write_text("content")
    return made


def grants(folders: dict[str, Path]) -> Grants:
    return Grants(
        read=(str(folders["read"]), *RUNTIME), listing=(str(folders["listing"]),), write=(str(folders["write"]),),
        devices=(str(folders["devices"] / "file"), "/dev/null"),
    )  # fmt: skip


def test_grants_add_up_and_name_nothing_twice() -> None:
    first = Grants(read=("/a", "/b"), write=("/w",))
    assert first + Grants(read=("/b", "/c"), devices=("/d",)) == Grants(("/a", "/b", "/c"), (), ("/w",), ("/d",))
    assert first + Grants() == first


def test_each_version_of_the_interface_knows_its_own_rights() -> None:
    assert handled_rights(1) == FIRST_RIGHTS
    assert handled_rights(2) == FIRST_RIGHTS | REFER
    assert handled_rights(3) == FIRST_RIGHTS | REFER | TRUNCATE
    assert handled_rights(4) == handled_rights(3)
    assert handled_rights(5) == handled_rights(9) == FIRST_RIGHTS | REFER | TRUNCATE | IOCTL_DEV


@needs_landlock
@pytest.mark.parametrize("abi", range(1, ABI + 1))
def test_files_are_kept_as_granted(abi: int, folders: dict[str, Path]) -> None:
    def check() -> None:
        restrict(grants(folders), abi)
        assert (folders["read"] / "file").read_text() == "content"
        assert refused(lambda: (folders["read"] / "file").write_text("x"))
        assert refused(lambda: (folders["read"] / "new").write_text("x"))
        assert refused((folders["read"] / "file").unlink)
        assert [path.name for path in folders["listing"].iterdir()] == ["file"]
        assert refused((folders["listing"] / "file").read_text)
        (folders["write"] / "new").write_text("x")
        (folders["write"] / "file").unlink()
        (folders["write"] / "folder").mkdir()
        (folders["devices"] / "file").write_text("x")
        assert refused(lambda: list(folders["other"].iterdir()))
        assert refused((folders["other"] / "file").read_text)
        assert refused(lambda: (folders["other"] / "file").rename(folders["write"] / "moved"))
        assert refused(lambda: (folders["write"] / "link").hardlink_to(folders["other"] / "file"))
        (folders["write"] / "link").symlink_to(folders["other"] / "file")
        assert refused((folders["write"] / "link").read_text)
        assert refused(lambda: os.mkfifo(folders["read"] / "pipe"))
        if abi >= 3:
            assert refused(lambda: os.truncate(folders["other"] / "file", 0))

    in_a_child(check)


@needs_landlock
def test_no_device_can_be_made_where_all_else_may_be(folders: dict[str, Path]) -> None:
    def check() -> None:
        restrict(grants(folders), ABI)
        os.mkfifo(folders["write"] / "pipe")
        assert refused(lambda: os.mknod(folders["write"] / "null", 0o600 | 0o020000, os.makedev(1, 3)))

    in_a_child(check)


@needs_landlock
def test_a_path_that_is_not_there_grants_nothing_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")

    def check() -> None:
        gone = (str(tmp_path / "gone"), str(tmp_path / "file" / "below"))
        restrict(Grants(read=gone, listing=gone, write=gone, devices=gone), ABI)
        assert refused((tmp_path / "file").read_text)

    in_a_child(check)


@needs_landlock
def test_a_second_layer_takes_away_and_gives_nothing(folders: dict[str, Path]) -> None:
    def check() -> None:
        restrict(Grants(read=(str(folders["read"]), str(folders["other"]), *RUNTIME)), ABI)
        restrict(grants(folders), ABI)
        assert (folders["read"] / "file").read_text() == "content"  # in both
        assert refused((folders["other"] / "file").read_text)  # in the first alone
        assert refused(lambda: (folders["write"] / "new").write_text("x"))  # in the second alone

    in_a_child(check)


@needs_landlock
def test_children_are_bound_too(folders: dict[str, Path]) -> None:
    def check() -> None:
        restrict(grants(folders), ABI)
        assert os.spawnv(os.P_WAIT, "/bin/cat", ["cat", str(folders["read"] / "file")]) == 0
        assert os.spawnv(os.P_WAIT, "/bin/cat", ["cat", str(folders["other"] / "file")]) != 0

    in_a_child(check)


@needs_landlock
def test_a_folder_that_may_not_be_executed_from_is_not(folders: dict[str, Path]) -> None:
    program = folders["listing"] / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)

    def check() -> None:
        restrict(grants(folders) + Grants(devices=(str(program),)), ABI)
        assert program.read_text()
        assert refused(lambda: os.execv(program, ["program"]))

    in_a_child(check)


@pytest.mark.skipif(ABI < 4, reason=f"Landlock knows TCP from ABI 4 on, this is {ABI}")
def test_tcp_goes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def check() -> None:
            socket.create_connection(address, timeout=5).close()
            restrict(Grants(read=RUNTIME), ABI)
            assert refused(lambda: socket.create_connection(address, timeout=5))
            assert refused(lambda: socket.create_server(("127.0.0.1", 0)))

        in_a_child(check)


@pytest.mark.skipif(ABI < 6, reason=f"Landlock knows signals and abstract sockets from ABI 6 on, this is {ABI}")
def test_signals_and_abstract_sockets_go_to_processes_outside_alone() -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0pertharness-test-{os.getpid()}")
        server.listen()
        name = server.getsockname()

        def connect() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name)

        def check() -> None:
            connect()
            os.kill(os.getppid(), 0)
            restrict(Grants(read=RUNTIME), ABI)
            assert refused(connect)
            assert refused(lambda: os.kill(os.getppid(), 0))
            child = os.fork()
            if child == 0:
                signal.pause()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            with socket.socket(socket.AF_UNIX) as own, socket.socket(socket.AF_UNIX) as client:
                own.bind(f"\0pertharness-test-{os.getpid()}")
                own.listen()
                client.connect(own.getsockname())

        in_a_child(check)


@needs_landlock
def test_a_kernel_that_refuses_is_an_error_with_words() -> None:
    most_layers = 16

    def check() -> None:
        for _ in range(most_layers):
            restrict(Grants(), ABI)
        with pytest.raises(OSError, match=r"Landlock \(restrict\): "):
            restrict(Grants(), ABI)

    in_a_child(check)


DROP = "read line; echo 2 > /proc/sys/vm/drop_caches; echo done"
"""Has Linux forget the entries of /proc that nobody has open, as it does when memory is short."""


@needs_landlock
@pytest.mark.skipif(not os.access("/proc/sys/vm/drop_caches", os.W_OK), reason="only root can have memory freed")
def test_own_entries_stay_readable_when_memory_is_freed() -> None:
    def read() -> None:
        restrict(Grants(read=(*RUNTIME, *PROC, *OWN_PROC), listing=(THREADS,)), ABI)
        assert len(hold_entries()) > len(OWN_PROC)
        dropper.stdin.write(b"\n")
        dropper.stdin.flush()
        assert dropper.stdout.readline() == b"done\n"
        for path in ("/proc/self/statm", "/proc/self/maps", "/proc/meminfo", "/proc/sys/kernel/ostype"):
            assert Path(path).read_bytes()
        assert list(Path("/proc/self/fd").iterdir())
        assert list(Path(THREADS).iterdir())
        assert refused(lambda: Path("/proc/1/stat").read_bytes())

    with subprocess.Popen(["sh", "-c", DROP], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as dropper:
        assert dropper.stdin is not None
        assert dropper.stdout is not None
        in_a_child(read)
