"""Channels to the truth through other processes: each returns what it got, or nothing."""

import contextlib
import ctypes
import functools
import gc
import os
import platform
import resource
import signal
import socket
import sys
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE = 0x4206
PROCESS_VM_READV = {"x86_64": 310, "aarch64": 270}
PIDFD_OPEN, PIDFD_GETFD = 434, 438
TIMEOUT_S = 2.0


def ancestors():
    """Yield the parent of this process, its parent, ..."""
    pid = os.getppid()
    while pid > 1:
        yield pid
        status = Path(f"/proc/{pid}/stat").read_text()
        pid = int(status.rpartition(")")[2].split()[1])


def neighbours():
    """Return the parent, and numbers of processes that were started shortly before: warm workers, other jobs."""
    own = os.getpid()
    return [pid for pid in (os.getppid(), *range(own - 40, own)) if pid > 1]


def command_lines_of_parents(place):
    return [line for pid in ancestors() if b"pertharness" in (line := Path(f"/proc/{pid}/cmdline").read_bytes())]


def all_command_lines(place):
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.parent.name != str(os.getpid()) and b"pertharness.host" in (line := path.read_bytes()):
                lines.append(line)
    return lines


def variables_of_parents(place):
    return [b for pid in ancestors() if place.home.encode() in (b := Path(f"/proc/{pid}/environ").read_bytes())]


def descriptors_of_parents(place):
    folders = [Path(f"/proc/{pid}/fd") for pid in ancestors()]
    return [
        target for folder in folders for name in os.listdir(folder) if place.store in (target := link(folder / name))
    ]


def link(path):
    try:
        return os.readlink(path)
    except FileNotFoundError:  # closed meanwhile
        return ""


def folders_of_parents(place):
    return [folder for pid in ancestors() if (folder := os.readlink(f"/proc/{pid}/cwd")) != "/"]


def root_of_parents(place):
    with open(f"/proc/{os.getppid()}/root{place.truth}", "rb") as file:
        return file.read(64)


def maps_of_parents(place):
    return [Path(f"/proc/{pid}/maps").read_text()[:64] for pid in ancestors()]


def memory_of_parents(place):
    """Return some bytes of another process, by its file; forks of one warm worker have the same addresses."""
    for pid in neighbours():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
            file.seek(readable_address(pid))
            if content := file.read(16):
                return content
    return None


def readable_address(pid):
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if " r" in line:
                return int(line.partition("-")[0], 16)
    return id(None)


class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def process_vm_readv(place):
    number = PROCESS_VM_READV[platform.machine()]
    for pid in neighbours():
        buffer = ctypes.create_string_buffer(16)
        mine, theirs = Vector(ctypes.addressof(buffer), 16), Vector(readable_address(pid), 16)
        one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
        if LIBC.syscall(number, pid, ctypes.byref(mine), one, ctypes.byref(theirs), one, none) > 0:
            return buffer.raw
    return None


def ptrace(place):
    """Return whether another process can be traced, by a child that ends at once and so lets it go."""
    others = set(neighbours()) - set(map(int, os.listdir("/proc/self/task")))
    child = os.fork()
    if child == 0:
        os._exit(any(LIBC.ptrace(PTRACE_SEIZE, pid, None, None) == 0 for pid in others))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def pidfd_getfd(place):
    for pid in neighbours():
        process = LIBC.syscall(PIDFD_OPEN, pid, 0)
        if process >= 0:
            taken = LIBC.syscall(PIDFD_GETFD, process, 1, 0)
            os.close(process)
            if taken >= 0:
                os.close(taken)
                return f"descriptor 1 of {pid}"
    return None


def signal_to_the_watcher(place):
    """Send a signal that means nothing to the process that watches this one."""
    if os.getppid() <= 1:
        return None
    os.kill(os.getppid(), signal.SIGURG)
    return "sent"


def signal_to_others(place):
    os.kill(place.victim, signal.SIGURG)
    return "sent"


def limits_of_others(place):
    resource.prlimit(place.victim, resource.RLIMIT_CORE, resource.prlimit(place.victim, resource.RLIMIT_CORE))
    return "set"


def processors_of_others(place):
    """Leave bits for a later job in what processors a process may use that outlives both."""
    before = os.sched_getaffinity(place.victim)
    os.sched_setaffinity(place.victim, {min(before)})
    left = os.sched_getaffinity(place.victim)
    os.sched_setaffinity(place.victim, before)
    return str(left) if left != before else None


def priorities_of_others(place):
    before = os.getpriority(os.PRIO_PROCESS, place.victim)
    os.setpriority(os.PRIO_PROCESS, place.victim, min(19, before + 1))
    left = os.getpriority(os.PRIO_PROCESS, place.victim)
    return str(left) if left != before else None


def host_name(place):
    """Set the name of the machine, which a later job can read, to what it is."""
    socket.sethostname(socket.gethostname())
    return "set"


def memory_of_the_warm_worker(place):
    """Return what the process from which this one was forked has read of data that are not this job's."""
    found = []
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "pertharness"]:
        for cached in vars(module).values():
            if isinstance(cached, functools._lru_cache_wrapper):
                found += [cached.__name__] * cached.cache_info().currsize
    tables = [held for held in gc.get_objects() if type(held).__name__ == "AnnData" and "perturbation" in held.obs]
    if place.held_out:
        found += [label for table in tables for label in place.held_out & set(table.obs["perturbation"])]
    return found


def start_up_file(place):
    """Return what a .pth file of the plugin's environment got when the interpreter started."""
    return getattr(sys, "_spied", None)


def ask(family, kind, address):
    """Return what a server answers."""
    with socket.socket(family, kind) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(address)
        client.send(b"?")
        return client.recv(64)


def tcp(place):
    return ask(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", place.tcp))


def udp(place):
    return ask(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", place.udp))


def raw_packets(place):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        return sender.sendto(b"\x08\0\xf7\xff\0\0\0\0", ("127.0.0.1", 0))


def packets_of_a_link(place):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as receiver:
        return receiver.fileno()


def netlink(place):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asker:
        return asker.fileno()


def abstract_sockets(place):
    return ask(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + place.abstract)


def path_sockets(place):
    return ask(socket.AF_UNIX, socket.SOCK_STREAM, place.socket)


CHANNELS = {
    "command lines of parents": command_lines_of_parents, "all command lines": all_command_lines,
    "variables of parents": variables_of_parents, "descriptors of parents": descriptors_of_parents,
    "working folders of parents": folders_of_parents, "roots of parents": root_of_parents,
    "maps of parents": maps_of_parents, "memory of other processes": memory_of_parents,
    "process_vm_readv": process_vm_readv, "ptrace": ptrace, "pidfd_getfd": pidfd_getfd,
    "signals to the watcher": signal_to_the_watcher, "signals to other processes": signal_to_others,
    "limits of other processes": limits_of_others, "processors of other processes": processors_of_others,
    "priorities of other processes": priorities_of_others, "name of the machine": host_name,
    "memory left by the warm worker": memory_of_the_warm_worker, "start-up files of the environment": start_up_file,
    "TCP": tcp, "UDP": udp, "raw packets": raw_packets, "packets of a link": packets_of_a_link, "netlink": netlink,
    "abstract sockets": abstract_sockets, "sockets with a path": path_sockets,
}  # fmt: skip
