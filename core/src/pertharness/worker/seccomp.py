"""A seccomp filter for what Landlock does not cover: sockets, System V shared memory, times and modes of files, ...

The filter is a short classic BPF program, built here because libseccomp would be one more requirement of every plugin's
environment. See seccomp(2); the numbers are those of ``linux/filter.h``, ``linux/seccomp.h`` and the system call tables
of each architecture.
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
AT_NUMBER, AT_ARCHITECTURE, AT_ARGUMENTS = 0, 4, (16, 24)
"""Offsets in ``struct seccomp_data``; for arguments that of the low half, on little-endian machines."""
X32 = 0x40000000
"""First number of the x32 interface, which would bypass a filter of system calls."""

SHARED_MEMORY = "shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink"
ATTRIBUTES = (
    "setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr "
    "lremovexattr fremovexattr setxattrat getxattrat listxattrat removexattrat"
)
OTHERS = (
    "io_uring_setup io_uring_enter io_uring_register add_key request_key keyctl bpf perf_event_open userfaultfd "
    "open_by_handle_at init_module finit_module delete_module kexec_load kexec_file_load reboot "
    "inotify_init inotify_init1 fanotify_init file_setattr "
    "sethostname setdomainname settimeofday clock_settime adjtimex clock_adjtime acct swapon swapoff quotactl syslog"
)
"""io_uring makes sockets and opens files without the calls above. A key ring, and settings of the machine that root may
change, are memory that outlives a process. inotify and fanotify reveal the names of other jobs' folders."""
MODES_AND_TIMES = "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat"
"""They could leave a message for a later job on any file of the user. They do nothing and report success, because many
functions that copy files call them."""
ERRORS = {**dict.fromkeys(ATTRIBUTES.split(), errno.EOPNOTSUPP), **dict.fromkeys(SHARED_MEMORY.split(), errno.ENOSYS),
          **dict.fromkeys(OTHERS.split(), errno.ENOSYS), **dict.fromkeys(MODES_AND_TIMES.split(), 0)}  # fmt: skip
OF_OTHERS = {
    "prlimit64": (0, errno.EPERM), "sched_setaffinity": (0, 0), "sched_setparam": (0, 0), "sched_setscheduler": (0, 0),
    "sched_setattr": (0, 0), "setpriority": (1, 0), "ioprio_set": (1, 0),
}  # fmt: skip
"""Calls that affect any process of the user -> index of the argument with the process (0: the caller), and error for
other processes; error 0 if libraries call it for their own threads and do not need the effect."""
FLAGS_OF_FILES = (0x40086602, 0x40087602, 0x401C5820, 0x800C6613)
"""Requests of ioctl(2): ``FS_IOC_SETFLAGS``, ``FS_IOC_SETVERSION``, ``FS_IOC_FSSETXATTR`` and
``FS_IOC_SET_ENCRYPTION_POLICY``, which work on files that are open for reading."""

_NEW = dict(zip(ATTRIBUTES.split()[-4:], range(463, 467), strict=True)) | {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "fchmodat2": 452, "file_setattr": 469,
}  # fmt: skip
"""From 424 on, all architectures use the same numbers."""
ABSENT = {"aarch64": {"chmod", "chown", "lchown", "utime", "utimes", "futimesat", "inotify_init"}}
"""Older calls that newer architectures do not have."""
NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "socket": 41, "shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67, "semget": 64, "semop": 65, "semctl": 66,
        "semtimedop": 220, "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240, "mq_unlink": 241,
        **dict(zip(ATTRIBUTES.split()[:12], range(188, 200), strict=True)), "add_key": 248, "request_key": 249,
        "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "open_by_handle_at": 304,
        "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320,
        "reboot": 169, "inotify_init": 253, "inotify_init1": 294, "fanotify_init": 300, "sethostname": 170,
        "setdomainname": 171, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159, "clock_adjtime": 305,
        "acct": 163, "swapon": 167, "swapoff": 168, "quotactl": 179, "syslog": 103, "chmod": 90, "fchmod": 91,
        "fchmodat": 268, "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "utime": 132, "utimes": 235,
        "futimesat": 261, "utimensat": 280, "prlimit64": 302, "sched_setaffinity": 203, "sched_setparam": 142,
        "sched_setscheduler": 144, "sched_setattr": 314, "setpriority": 141, "ioprio_set": 251, "ioctl": 16, **_NEW,
    },
    "aarch64": {
        "socket": 198, "shmget": 194, "shmat": 196, "shmctl": 195, "shmdt": 197, "semget": 190, "semop": 193,
        "semctl": 191, "semtimedop": 192, "msgget": 186, "msgsnd": 189, "msgrcv": 188, "msgctl": 187, "mq_open": 180,
        "mq_unlink": 181, **dict(zip(ATTRIBUTES.split()[:12], range(5, 17), strict=True)), "add_key": 217,
        "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
        "open_by_handle_at": 265, "init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104,
        "kexec_file_load": 294, "reboot": 142, "inotify_init1": 26, "fanotify_init": 262, "sethostname": 161,
        "setdomainname": 162, "settimeofday": 170, "clock_settime": 112, "adjtimex": 171, "clock_adjtime": 266,
        "acct": 89, "swapon": 224, "swapoff": 225, "quotactl": 60, "syslog": 116, "fchmod": 52, "fchmodat": 53,
        "fchown": 55, "fchownat": 54, "utimensat": 88, "prlimit64": 261, "sched_setaffinity": 122,
        "sched_setparam": 118, "sched_setscheduler": 119, "sched_setattr": 274, "setpriority": 140, "ioprio_set": 30,
        "ioctl": 29, **_NEW,
    },
}  # fmt: skip
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""``AUDIT_ARCH_*`` of ``linux/audit.h``."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def is_supported() -> bool:
    """Return whether a filter is available for this machine."""
    return sys.platform == "linux" and sys.byteorder == "little" and platform.machine() in NUMBERS


def build_filter(machine: str | None = None) -> bytes:
    """Return the filter program: it denies the calls above and all sockets but AF_UNIX, and allows the rest."""
    machine = machine or platform.machine()
    numbers = NUMBERS[machine]
    program = [_load(AT_ARCHITECTURE), *_unless_equal(ARCHITECTURES[machine], KILL), _load(AT_NUMBER)]
    if machine == "x86_64":
        program += [_instruction(JUMP_IF_AT_LEAST, X32, 0, 1), _return(REFUSE | errno.ENOSYS)]
    for name, error in ERRORS.items():
        if name in numbers:
            program += [_instruction(JUMP_IF_EQUAL, numbers[name], 0, 1), _return(REFUSE | error)]
    for name, (argument, error) in OF_OTHERS.items():
        program += _where_called(numbers[name], [_load(AT_ARGUMENTS[argument]), *_unless_equal(0, REFUSE | error)])
    flags = [_load(AT_ARGUMENTS[1])]
    for request in FLAGS_OF_FILES:
        flags += [_instruction(JUMP_IF_EQUAL, request, 0, 1), _return(REFUSE | errno.EPERM)]
    program += _where_called(numbers["ioctl"], flags)
    family = [_load(AT_ARGUMENTS[0]), *_unless_equal(int(socket.AF_UNIX), REFUSE | errno.EAFNOSUPPORT)]
    program += [*_where_called(numbers["socket"], family), _return(ALLOW)]
    return b"".join(program)


def close_calls() -> None:
    """Install the filter for good in this process and all its children.

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
    """Return instructions that return `result` unless the loaded value equals `value`."""
    return [_instruction(JUMP_IF_EQUAL, value, 1, 0), _return(result)]


def _where_called(number: int, instructions: list[bytes]) -> list[bytes]:
    """Return instructions for one system call, which is allowed unless they return something."""
    return [_instruction(JUMP_IF_EQUAL, number, 0, len(instructions) + 1), *instructions, _return(ALLOW)]
