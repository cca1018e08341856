"""Landlock by system calls: a process gives up rights that it does not need, for itself and its children, for good.

This uses ctypes instead of a package, because the worker runs in every plugin's environment, whose lock would need one
more distribution. See landlock(7); the numbers are those of ``linux/landlock.h``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System calls; the numbers are the same on all architectures."""
GET_ABI, PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FIRST_RIGHTS = (1 << 13) - 1
"""Rights of ABI 1: from `EXECUTE` to making symbolic links."""
BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1 << 0, 1 << 1

OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""Rights that a rule for a file may have; all others are for folders."""
READ = EXECUTE | READ_FILE | READ_DIR
MAKE_DEVICES = (1 << 6) | (1 << 11)

SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True)
class Grants:
    """Rights of a sandboxed process: absolute paths of files, or of folders with all their content.

    Attributes
    ----------
    read
        Paths to read and execute.
    listing
        Folders whose entries may be listed, but not read.
    write
        Paths to read, write, create and remove.
    devices
        Devices to read, write and control, e.g. ``/dev/null``.
    """

    read: tuple[str, ...] = ()
    listing: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    def __add__(self, other: Grants) -> Grants:
        """Return the union of both grants."""
        merged = {
            field.name: tuple(dict.fromkeys(getattr(self, field.name) + getattr(other, field.name)))
            for field in fields(self)
        }
        return Grants(**merged)


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi_version() -> int:
    """Return the version of this kernel's Landlock interface; 0 if there is none."""
    if sys.platform != "linux":
        return 0
    version = int(_libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), GET_ABI))
    return max(0, version)


def restrict(grants: Grants, abi: int) -> None:
    """Restrict this process to the files in `grants`, without TCP, and without signals or abstract sockets to others.

    What is restricted depends on `abi`. Paths that do not exist are ignored. Call this before the process starts a
    thread: it affects only the calling thread and the threads and processes that it starts.

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    libc = _libc()
    handled = handled_rights(abi)
    attributes = _RulesetAttr(
        handled, BIND_TCP | CONNECT_TCP if abi >= 4 else 0, SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS if abi >= 6 else 0
    )
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8  # an older kernel rejects unknown fields
    ruleset = _checked(libc.syscall(CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), 0), "create")
    try:
        everything = handled & ~MAKE_DEVICES
        _allow(libc, ruleset, grants.read, READ & handled)
        _allow(libc, ruleset, grants.listing, READ_DIR)
        _allow(libc, ruleset, grants.write, everything & ~IOCTL_DEV)
        _allow(libc, ruleset, grants.devices, (READ | WRITE_FILE | TRUNCATE | IOCTL_DEV) & handled & ~EXECUTE)
        forbid_new_privileges()
        _checked(libc.syscall(RESTRICT_SELF, ruleset, 0), "restrict")
    finally:
        os.close(ruleset)


def handled_rights(abi: int) -> int:
    """Return the rights on files and folders that a version of the interface supports."""
    later = (REFER if abi >= 2 else 0) | (TRUNCATE if abi >= 3 else 0) | (IOCTL_DEV if abi >= 5 else 0)
    return FIRST_RIGHTS | later


def forbid_new_privileges() -> None:
    """Forbid that programs gain rights (setuid) from now on; required to restrict a process without root."""
    _checked(_libc().prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _allow(libc: ctypes.CDLL, ruleset: int, paths: Iterable[str] | Sequence[str], rights: int) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
                rule = _PathBeneathAttr(rights if is_folder else rights & OF_FILES, descriptor)
                if rule.allowed:
                    _checked(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(rule), 0), path)
            finally:
                os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, action: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock ({action}): {os.strerror(number)}")
    return int(result)
