"""A seccomp filter for what Landlock leaves open: sockets, shared memory of System V, extended attributes, io_uring.

Built as a short classic BPF program by hand: libseccomp and its bindings would be one more requirement of every
plugin's environment. See seccomp(2); numbers are those of ``linux/filter.h``, ``linux/seccomp.h`` and of the tables of
system calls of each architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

from pertharness.worker.landlock import forbid_new_privileges

SET_SECCOMP, MODE_FILTER = 22, 2
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
AT_NUMBER, AT_ARCHITECTURE, AT_FIRST_ARGUMENT = 0, 4, 16
"""Offsets in ``struct seccomp_data``; of the argument the low half, on machines whose bytes are in that order."""
X32 = 0x40000000
"""Numbers from here on are those of the x32 interface, by which a filter of names would be passed."""

SHARED_MEMORY = "shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink"
ATTRIBUTES = (
    "setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr "
    "lremovexattr fremovexattr setxattrat getxattrat listxattrat removexattrat"
)
OTHERS = (
    "io_uring_setup io_uring_enter io_uring_register add_key request_key keyctl bpf perf_event_open userfaultfd "
    "open_by_handle_at init_module finit_module delete_module kexec_load kexec_file_load reboot"
)
"""io_uring makes sockets and opens files without the calls above; a key ring is memory that outlives a process."""
ERRORS = {**dict.fromkeys(ATTRIBUTES.split(), errno.EOPNOTSUPP), **dict.fromkeys(SHARED_MEMORY.split(), errno.ENOSYS),
          **dict.fromkeys(OTHERS.split(), errno.ENOSYS)}  # fmt: skip

_NEW = dict(zip(ATTRIBUTES.split()[-4:], range(463, 467), strict=True)) | {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
}  # fmt: skip
"""From number 424 on all architectures count alike."""
NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "socket": 41, "shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67, "semget": 64, "semop": 65, "semctl": 66,
        "semtimedop": 220, "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240, "mq_unlink": 241,
        **dict(zip(ATTRIBUTES.split()[:12], range(188, 200), strict=True)), "add_key": 248, "request_key": 249,
        "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "open_by_handle_at": 304,
        "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320,
        "reboot": 169, **_NEW,
    },
    "aarch64": {
        "socket": 198, "shmget": 194, "shmat": 196, "shmctl": 195, "shmdt": 197, "semget": 190, "semop": 193,
        "semctl": 191, "semtimedop": 192, "msgget": 186, "msgsnd": 189, "msgrcv": 188, "msgctl": 187, "mq_open": 180,
        "mq_unlink": 181, **dict(zip(ATTRIBUTES.split()[:12], range(5, 17), strict=True)), "add_key": 217,
        "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
        "open_by_handle_at": 265, "init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104,
        "kexec_file_load": 294, "reboot": 142, **_NEW,
    },
}  # fmt: skip
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""``AUDIT_ARCH_*`` of ``linux/audit.h``."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def is_supported() -> bool:
    """Return whether there is a filter for this machine."""
    return sys.platform == "linux" and sys.byteorder == "little" and platform.machine() in NUMBERS


def build_filter(machine: str | None = None) -> bytes:
    """Return the program: refuse the calls above, and sockets of every family but AF_UNIX; allow the rest."""
    machine = machine or platform.machine()
    numbers = NUMBERS[machine]
    program = [_load(AT_ARCHITECTURE), *_unless_equal(ARCHITECTURES[machine], KILL), _load(AT_NUMBER)]
    if machine == "x86_64":
        program += [_instruction(JUMP_IF_AT_LEAST, X32, 0, 1), _return(REFUSE | errno.ENOSYS)]
    for name, number in numbers.items():
        if name != "socket":
            program += [_instruction(JUMP_IF_EQUAL, number, 0, 1), _return(REFUSE | ERRORS[name])]
    program += [
        _instruction(JUMP_IF_EQUAL, numbers["socket"], 1, 0), _return(ALLOW), _load(AT_FIRST_ARGUMENT),
        *_unless_equal(int(socket.AF_UNIX), REFUSE | errno.EAFNOSUPPORT), _return(ALLOW),
    ]  # fmt: skip
    return b"".join(program)


def close_calls() -> None:
    """Install the filter in this process and all that it starts, for good.

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    code = build_filter()
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    forbid_new_privileges()
    if ctypes.CDLL(None, use_errno=True).prctl(SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _load(offset: int) -> bytes:
    return _instruction(LOAD, offset)


def _return(value: int) -> bytes:
    return _instruction(RETURN, value)


def _unless_equal(value: int, result: int) -> list[bytes]:
    """Return `result` unless what was loaded last equals `value`."""
    return [_instruction(JUMP_IF_EQUAL, value, 1, 0), _return(result)]
