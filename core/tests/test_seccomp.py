"""The filter of system calls: what it does in a process, and to every number on both architectures."""

import ctypes
import errno
import os
import platform
import resource
import shutil
import socket
import struct
import sys
from pathlib import Path

import pytest
from in_a_child import in_a_child
from pertharness.worker import seccomp
from pertharness.worker.seccomp import (
    ABSENT,
    ALLOW,
    ARCHITECTURES,
    ERRORS,
    FLAGS_OF_FILES,
    KILL,
    NUMBERS,
    OF_OTHERS,
    REFUSE,
    build_filter,
    close_calls,
)

needs_filter = pytest.mark.skipif(not seccomp.is_supported(), reason="no filter for this machine")
MACHINES = pytest.mark.parametrize("machine", sorted(NUMBERS))


def judge(program: bytes, number: int, architecture: int, first: int = 0, second: int = 0) -> int:
    """Return the verdict of a program on a system call, by carrying it out."""
    data = struct.pack("<IIQQQ", number & 0xFFFFFFFF, architecture, 0, first, second)
    instructions = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    loaded, at = 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == seccomp.LOAD:
            [loaded] = struct.unpack_from("<I", data, value)
        elif code == seccomp.JUMP_IF_EQUAL:
            at += if_true if loaded == value else if_false
        elif code == seccomp.JUMP_IF_AT_LEAST:
            at += if_true if loaded >= value else if_false
        else:
            assert code == seccomp.RETURN, code
            return int(value)


@MACHINES
def test_every_call_that_is_named_is_refused_and_no_other(machine: str) -> None:
    program, architecture = build_filter(machine), ARCHITECTURES[machine]
    assert len(program) % 8 == 0
    names = {number: name for name, number in NUMBERS[machine].items()}
    assert len(names) == len(NUMBERS[machine])  # no number stands for two calls
    for number in range(600):
        name = names.get(number)
        if name != "socket":
            expected = REFUSE | ERRORS[name] if name in ERRORS else ALLOW
            assert judge(program, number, architecture) == expected, (number, name)


@MACHINES
def test_both_architectures_have_all_names(machine: str) -> None:
    assert set(NUMBERS[machine]) | ABSENT.get(machine, set()) == {"socket", "ioctl", *OF_OTHERS, *ERRORS}


@MACHINES
def test_calls_that_reach_other_processes_are_allowed_for_the_caller_alone(machine: str) -> None:
    program, architecture = build_filter(machine), ARCHITECTURES[machine]
    for name, (argument, error) in OF_OTHERS.items():
        number = NUMBERS[machine][name]
        for whom in (0, 1, 4321, 0xFFFFFFFF):
            arguments = (whom, 7) if argument == 0 else (7, whom)
            verdict = judge(program, number, architecture, *arguments)
            assert verdict == (REFUSE | error if whom else ALLOW), (name, whom)


@MACHINES
def test_flags_of_files_cannot_be_set_and_other_requests_can_be_made(machine: str) -> None:
    program, architecture = build_filter(machine), ARCHITECTURES[machine]
    for request in (*FLAGS_OF_FILES, 0x5401, 0x80086601):  # TCGETS, FS_IOC_GETFLAGS
        verdict = judge(program, NUMBERS[machine]["ioctl"], architecture, 3, request)
        assert verdict == (REFUSE | errno.EPERM if request in FLAGS_OF_FILES else ALLOW)


@MACHINES
def test_sockets_are_allowed_within_the_machine_alone(machine: str) -> None:
    program, architecture = build_filter(machine), ARCHITECTURES[machine]
    for family in range(64):
        verdict = judge(program, NUMBERS[machine]["socket"], architecture, family)
        assert verdict == (ALLOW if family == socket.AF_UNIX else REFUSE | errno.EAFNOSUPPORT), family
    # The kernel takes the family from the low half alone.
    odd = (1 << 32) | socket.AF_INET
    assert judge(program, NUMBERS[machine]["socket"], architecture, odd) == REFUSE | errno.EAFNOSUPPORT


@MACHINES
def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    others = [*ARCHITECTURES.values(), 0x40000003, 0x40000028]  # and those of 32 bits, i386 and arm
    for architecture in others:
        verdict = judge(build_filter(machine), 1, architecture)
        assert verdict == (ALLOW if architecture == ARCHITECTURES[machine] else KILL)


def test_numbers_of_x32_are_refused() -> None:
    program, x32 = build_filter("x86_64"), 0x40000000
    for number in (x32, x32 | 41, x32 | 512, 0xFFFFFFFF):
        assert judge(program, number, ARCHITECTURES["x86_64"]) == REFUSE | errno.ENOSYS


@pytest.mark.skipif(
    not Path("/usr/include/asm/unistd_64.h").exists()
    and not Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").exists(),
    reason="no headers of Linux here",
)
def test_numbers_are_those_of_the_headers() -> None:
    folders = (Path("/usr/include/asm"), Path("/usr/include/x86_64-linux-gnu/asm"))
    text = next(folder / "unistd_64.h" for folder in folders if (folder / "unistd_64.h").exists()).read_text()
    known = {line.split()[1].removeprefix("__NR_"): int(line.split()[2])
             for line in text.splitlines() if line.startswith("#define __NR_")}  # fmt: skip
    mine = {name: number for name, number in NUMBERS["x86_64"].items() if name in known}
    assert mine == {name: known[name] for name in mine}
    assert len(mine) > 40


@pytest.mark.skipif(not Path("/usr/include/asm-generic/unistd.h").exists(), reason="no headers of Linux here")
def test_numbers_of_aarch64_are_those_of_the_generic_headers() -> None:
    known = {}
    for line in Path("/usr/include/asm-generic/unistd.h").read_text().splitlines():
        words = line.split()
        if line.startswith("#define __NR") and words[2].isdigit():
            known[words[1].removeprefix("__NR3264_").removeprefix("__NR_")] = int(words[2])
    mine = {name: number for name, number in NUMBERS["aarch64"].items() if name in known}
    assert mine == {name: known[name] for name in mine}
    assert len(mine) > 40


@needs_filter
def test_a_process_behind_the_filter_has_no_sockets_but_local_ones() -> None:
    def check() -> None:
        close_calls()
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
                with pytest.raises(OSError) as caught:
                    socket.socket(family, kind)
                assert caught.value.errno == errno.EAFNOSUPPORT
        first, second = socket.socketpair()
        first.send(b"x")
        assert second.recv(1) == b"x"

    in_a_child(check)


@needs_filter
def test_a_process_behind_the_filter_has_no_attributes_and_no_memory_that_outlives_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def check() -> None:
        close_calls()
        for call in (lambda: os.getxattr(tmp_path / "file", "user.x"), lambda: os.listxattr(tmp_path / "file"),
                     lambda: os.setxattr(tmp_path / "file", "user.x", b"1")):  # fmt: skip
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EOPNOTSUPP
        libc = ctypes.CDLL(None, use_errno=True)
        for name, arguments in (("shmget", (1234, 64, 0o1600)), ("msgget", (1234, 0o1600)), ("semget", (1, 1, 0o1600))):
            assert getattr(libc, name)(*arguments) == -1
            assert ctypes.get_errno() == errno.ENOSYS
        for name in ("io_uring_setup", "add_key", "keyctl", "open_by_handle_at", "bpf"):
            assert libc.syscall(NUMBERS[platform.machine()][name], 0, 0, 0, 0, 0) == -1
            assert ctypes.get_errno() == errno.ENOSYS

    in_a_child(check)


@needs_filter
def test_modes_and_times_stay_what_they_are_without_an_error(tmp_path: Path) -> None:
    """A later job could read them; much that copies files sets them in passing."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("text")
    source.chmod(0o640)
    before = source.stat()

    def check() -> None:
        close_calls()
        source.chmod(0o777)
        with source.open() as file:
            os.fchmod(file.fileno(), 0o600)
            os.utime(file.fileno(), (1, 1))
        os.utime(source, (1, 1))
        os.utime(source, (1, 1), follow_symlinks=False)
        os.chown(source, 1, 1)
        shutil.copy2(source, target)

    in_a_child(check)
    after = source.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    assert target.read_text() == "text"


@needs_filter
def test_other_processes_keep_their_limits_and_their_processors() -> None:
    parent = os.getpid()
    limits, processors = resource.getrlimit(resource.RLIMIT_CORE), os.sched_getaffinity(0)
    priority = os.getpriority(os.PRIO_PROCESS, 0)

    def check() -> None:
        close_calls()
        with pytest.raises(PermissionError):
            resource.prlimit(parent, resource.RLIMIT_CORE, (0, limits[1]))
        os.sched_setaffinity(parent, {min(processors)})
        os.setpriority(os.PRIO_PROCESS, parent, 19)
        os.sched_setaffinity(0, {min(processors)})
        os.setpriority(os.PRIO_PROCESS, 0, 18)
        assert os.sched_getaffinity(0) == {min(processors)}
        assert os.getpriority(os.PRIO_PROCESS, 0) == 18

    in_a_child(check)
    assert resource.getrlimit(resource.RLIMIT_CORE) == limits
    assert os.sched_getaffinity(0) == processors
    assert os.getpriority(os.PRIO_PROCESS, 0) == priority


@needs_filter
def test_programs_that_are_executed_stay_behind_the_filter() -> None:
    code = "import socket\ntry: socket.socket()\nexcept OSError: raise SystemExit(7)"

    def check() -> None:
        close_calls()
        assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-I", "-c", code]) == 7

    in_a_child(check)
