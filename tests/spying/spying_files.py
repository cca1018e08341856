"""Channels to the truth through the file system: each returns what it got, or nothing."""

import contextlib
import fcntl
import os
import secrets
import socket
import sys
from pathlib import Path

MAGIC = 64
"""Bytes of a file that are taken as proof that it can be read."""

GET_FLAGS, SET_FLAGS, NO_DUMP = 0x80086601, 0x40086602, 0x40
"""``FS_IOC_GETFLAGS`` and its kin, and the flag that says nothing but to one program for backups."""


def read(path):
    with Path(path).open("rb") as file:
        return file.read(MAGIC)


def beneath(folder):
    """Return the first bytes of the means of a dataset in a store, wherever that may be."""
    for path in sorted(Path(folder).glob("datasets/*/pseudobulk.h5ad")):
        return read(path)
    return None


def store_of(path):
    """Return the store in which a path of a job, or of a record, lies."""
    return Path(path).parents[2] if len(Path(path).parents) > 2 else None


def by_the_work_folder(place):
    return beneath(place.folder.parents[1])


def by_the_current_folder(place):
    for parent in Path.cwd().parents:
        with contextlib.suppress(OSError):
            if truth := beneath(parent):
                return truth
    return None


def by_the_job_file(place):
    import json

    job = json.loads((place.folder / "job.json").read_text(encoding="utf-8"))
    for path in job["inputs"].values():
        if truth := beneath(store_of(path)):
            return truth
    return None


def by_the_command_line(place):
    words = [*sys.orig_argv, *Path("/proc/self/cmdline").read_text().split("\0")]
    for word in words:
        if word.endswith("job.json") and (truth := beneath(Path(word).parents[2])):
            return truth
    return None


def by_variables(place):
    known = {place.store, place.data, place.home}
    return [name for name, value in os.environ.items() if name != "HOME" and known & {value}]


def by_descriptors(place):
    """Return what can be read through a descriptor that this process was born with."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if int(name) > 2 and os.path.realpath(f"/proc/self/fd/{name}") == place.truth:
                return os.pread(int(name), MAGIC, 0)
    return None


def by_the_default_store(place):
    import platformdirs

    for folder in (platformdirs.user_data_dir("pertharness"), f"{place.home}/.local/share/pertharness"):
        if truth := beneath(Path(folder) / "store"):
            return truth
    return None


def by_root_links(place):
    thread = os.listdir("/proc/self/task")[0]
    for root in ("/proc/self/root", f"/proc/self/task/{thread}/root", "/proc/thread-self/root"):
        with contextlib.suppress(OSError):
            return read(root + place.truth)
    return None


def home(place):
    return read(Path(place.home) / ".netrc")


def user_data(place):
    return read(place.data)


def truth_by_path(place):
    return read(place.truth)


def predictions_of_others(place):
    return read(place.prediction)


def scores_of_others(place):
    return read(place.scores)


def train_of_other_splits(place):
    return read(place.train)


def run_folder(place):
    return read(place.run)


def lock_files(place):
    return list(Path(place.store, "work").glob("*.lock"))


def hard_link(place):
    with place.room() as room:
        os.link(place.truth, room / "link")
        return read(room / "link")


def symbolic_link(place):
    with place.room() as room:
        (room / "link").symlink_to(place.truth)
        return read(room / "link")


def rename(place):
    """Return what is in a record that can be moved into the work folder, and back."""
    with place.room() as room:
        os.rename(place.bait, room / "moved")
        try:
            return read(room / "moved")
        finally:
            os.rename(room / "moved", place.bait)


def temporary_files(place):
    return read(place.temporary)


def shared_memory_files(place):
    return read(place.shared_memory)


def disks(place):
    for pattern in ("vd?", "sd?", "nvme?n?"):
        for path in Path("/dev").glob(pattern):
            return read(path)
    return None


def list_of_sockets(place):
    """Return the names of sockets of other processes."""
    thread = os.listdir("/proc/self/task")[0]
    for folder in ("/proc/net", "/proc/self/net", f"/proc/self/task/{thread}/net", "/proc/thread-self/net"):
        with contextlib.suppress(OSError):
            if place.socket in Path(folder, "unix").read_text(errors="replace"):
                return folder
    return None


def stat_by_path(place):
    return os.stat(place.truth).st_size


def chmod_by_path(place):
    """Leave a bit for a later job in the mode of a file that both know."""
    mode = os.stat(place.bait).st_mode & 0o777
    os.chmod(place.bait, mode ^ 0o010)
    left = os.stat(place.bait).st_mode & 0o777
    os.chmod(place.bait, mode)
    return oct(left) if left != mode else None


def times_by_path(place):
    """Leave a number for a later job in the times of a file that both know."""
    before = os.stat(place.bait)
    os.utime(place.bait, ns=(before.st_atime_ns, 12345))
    left = os.stat(place.bait).st_mtime_ns
    os.utime(place.bait, ns=(before.st_atime_ns, before.st_mtime_ns))
    return left if left == 12345 else None


def flags_by_descriptor(place):
    """Leave a bit in the flags of a file that may be read alone."""
    with open(place.bait, "rb") as file:
        before = fcntl.ioctl(file, GET_FLAGS, bytes(8))
        changed = (int.from_bytes(before, "little") ^ NO_DUMP).to_bytes(8, "little")
        fcntl.ioctl(file, SET_FLAGS, changed)
        fcntl.ioctl(file, SET_FLAGS, before)
    return "set"


def sockets_of_other_jobs(place):
    """Ask a job that runs at the same time, and left a socket in its folder, which is named by its key."""
    work = os.path.join(place.store, "work")
    names = [place.job]
    with contextlib.suppress(OSError):
        names += os.listdir(work)
    for name in names:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            folder = os.open(os.path.join(work, name, "out"), os.O_PATH)  # the whole name is too long for an address
            try:
                client.connect(f"/proc/self/fd/{folder}/s")
                client.send(b"?")
                return client.recv(64)
            finally:
                os.close(folder)
    return None


def write_inputs(place):
    """Return the sizes of inputs that can be opened for writing; what is written is what is there."""
    import json

    job = json.loads((place.folder / "job.json").read_text(encoding="utf-8"))
    written = []
    for path in map(Path, job["inputs"].values()):
        with contextlib.suppress(OSError):
            path.chmod(0o644)
            with path.open("r+b") as file:
                first = file.read(1)
                file.seek(0)
                written.append(file.write(first))
    return written


def write_records(place):
    with open(place.bait, "r+b") as file:
        return file.write(place.token.encode())


def write_status(place):
    """Forge a status, as if the record were done, and rewrite what the job was asked."""
    (place.folder / "status.json").write_text('{"state": "done"}', encoding="utf-8")
    job = (place.folder / "job.json").read_text(encoding="utf-8")
    return (place.folder / "job.json").write_text(job + " ", encoding="utf-8")


def write_environment(place):
    """Leave something for all later jobs in the plugin's own environment."""
    path = Path(__file__).with_name(f"left_{secrets.token_hex(4)}.py")
    path.write_text("x = 1\n", encoding="utf-8")
    path.unlink()
    return str(path)


def leave_temporary_files(place):
    return leave_beside(place, place.temporary)


def leave_shared_memory(place):
    return leave_beside(place, place.shared_memory)


def leave_beside(place, other):
    """Leave a file for later jobs, beside what others left: in a folder of the job's own, nobody else sees it."""
    Path(f"{other}-{secrets.token_hex(4)}").write_text(place.token, encoding="utf-8")
    return read(other)


CHANNELS = {
    "store, by the work folder": by_the_work_folder, "store, by the current folder": by_the_current_folder,
    "store, by the job's file": by_the_job_file, "store, by the own command line": by_the_command_line,
    "store, by variables": by_variables, "inherited descriptors": by_descriptors,
    "store, at its default place": by_the_default_store, "links to the root": by_root_links, "home": home,
    "the user's data, by path": user_data, "truth, by path": truth_by_path,
    "predictions of others": predictions_of_others, "scores of others": scores_of_others,
    "training data of other splits": train_of_other_splits, "folder of the run": run_folder, "lock files": lock_files,
    "hard links": hard_link, "symbolic links": symbolic_link, "renaming a record": rename,
    "temporary files of others": temporary_files, "shared memory files of others": shared_memory_files, "disks": disks,
    "list of sockets": list_of_sockets, "stat by path": stat_by_path, "chmod by path": chmod_by_path,
    "times by path": times_by_path, "flags of files": flags_by_descriptor,
    "sockets of other jobs": sockets_of_other_jobs,
    "writing to inputs": write_inputs, "writing to other records": write_records,
    "writing the own status": write_status, "writing to the plugin's environment": write_environment,
    "leaving temporary files": leave_temporary_files, "leaving shared memory files": leave_shared_memory,
}  # fmt: skip
