"""Channels to the truth through the kernel's own objects: each returns what it got, or nothing."""

import ctypes
import os
import struct

from pertharness.worker.seccomp import NUMBERS

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
CALLS = NUMBERS[os.uname().machine]
USER_KEYRING, READ_KEY = -4, 11
AT_FDCWD = -100
CREATED = 0x100
"""Of inotify."""


def checked(result):
    if result is None or result in (-1, ctypes.c_void_p(-1).value):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def shared_memory(place):
    segment = checked(LIBC.shmget(place.ipc, 0, 0))
    address = checked(LIBC.shmat(segment, None, 0o10000))
    try:
        return ctypes.string_at(address, 16)
    finally:
        LIBC.shmdt(ctypes.c_void_p(address))


def messages(place):
    """Look at the first message of a queue, and leave it there."""
    queue = checked(LIBC.msgget(place.ipc, 0))
    buffer = ctypes.create_string_buffer(64)
    no_wait, copy = 0o4000, 0o40000
    checked(LIBC.msgrcv(queue, buffer, ctypes.c_size_t(32), ctypes.c_long(0), no_wait | copy))
    return buffer.raw


def semaphores(place):
    return checked(LIBC.semget(place.ipc, 0, 0)) + 1


def posix_queues(place):
    queue = checked(LIBC.mq_open(place.queue.encode(), os.O_RDONLY | os.O_NONBLOCK))
    os.close(queue)
    return "opened"


def attributes(place):
    return os.getxattr(place.bait, "user.spied")


def leave_attributes(place):
    os.setxattr(place.bait, "user.left", b"left")
    return "left"


def io_uring(place):
    ring = checked(LIBC.syscall(CALLS["io_uring_setup"], 8, ctypes.create_string_buffer(120)))
    os.close(ring)
    return "made"


def keys(place):
    serial = checked(LIBC.syscall(CALLS["request_key"], b"user", place.key.encode(), None, 0))
    buffer = ctypes.create_string_buffer(64)
    length = checked(LIBC.syscall(CALLS["keyctl"], READ_KEY, serial, buffer, 64, 0))
    return buffer.raw[:length]


def handles(place):
    """Open the truth by its handle, past all paths."""
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    mount = ctypes.c_int()
    checked(LIBC.name_to_handle_at(AT_FDCWD, place.truth.encode(), handle, ctypes.byref(mount), 0))
    folder = os.open(place.anywhere, os.O_RDONLY)
    try:
        opened = checked(LIBC.open_by_handle_at(folder, handle, os.O_RDONLY))
    finally:
        os.close(folder)
    try:
        return os.read(opened, 64)
    finally:
        os.close(opened)


def watched_names(place):
    """Let the kernel say which names appear in a folder that cannot be read."""
    watcher = checked(LIBC.inotify_init())
    try:
        return checked(LIBC.inotify_add_watch(watcher, os.path.dirname(place.bait).encode(), CREATED))
    finally:
        os.close(watcher)


CHANNELS = {
    "shared memory of System V": shared_memory, "messages of System V": messages, "semaphores of System V": semaphores,
    "message queues of POSIX": posix_queues, "extended attributes": attributes,
    "leaving extended attributes": leave_attributes, "io_uring": io_uring, "key rings": keys,
    "open_by_handle_at": handles, "names that appear in a folder (inotify)": watched_names,
}  # fmt: skip
