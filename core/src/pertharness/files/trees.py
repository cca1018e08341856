"""Folders of any depth, walked and removed whatever lies in them; links are never followed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """Something that lies in a folder, while `walk` is at it.

    Attributes
    ----------
    folder
        Descriptor of the folder that it lies in; a name may be longer from the root than the system takes.
    name, facts
        Its name there, and what the system says of it, not of what it may be a link to.
    above
        Names of the folders between the top and it; the same list for every entry, valid until the next one.
    """

    folder: int
    name: str
    facts: os.stat_result
    above: list[str]

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder itself, and no link to one."""
        return stat.S_ISDIR(self.facts.st_mode)


def walk(top: Path, *, unlock: bool = False) -> Iterator[Entry]:
    """Yield all that lies in a folder, at any depth; what is in a folder before that folder.

    Links are yielded and never followed. `os.walk`, `os.fwalk` and `shutil.rmtree` recurse, keep a descriptor for each
    level, or put together paths: a process that makes some thousand folders in one another ends all of them. Here one
    descriptor is open at a time, and names are looked up in it. What is gone meanwhile is left out.

    Parameters
    ----------
    top
        A folder; nothing is yielded where it is none.
    unlock
        Give folders that cannot be entered the permissions for it; else they are yielded, and not what is in them.

    Raises
    ------
    OSError
        If the folder where the walk is at is moved elsewhere meanwhile.
    """
    folder = _enter(str(top), None, unlock=unlock)
    if folder is None:
        return
    trail: list[tuple[Entry, list[str], tuple[int, int]]] = []
    above: list[str] = []
    todo, identity = _names(folder), _identity(folder)
    try:
        while todo or trail:
            if not todo:  # back to the folder around
                entry, todo, parent_identity = trail.pop()
                parent = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
                os.close(folder)
                folder, identity = parent, _identity(parent)
                if identity != parent_identity:
                    raise OSError(f"{entry.name!r}, somewhere in {str(top)!r}, was moved while it was looked through")
                above.pop()
                yield Entry(folder, entry.name, entry.facts, above)
                continue
            name = todo.pop()
            try:
                facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            entry = Entry(folder, name, facts, above)
            inner = _enter(name, folder, unlock=unlock) if entry.is_folder else None
            if inner is None:
                yield entry
                continue
            trail.append((entry, todo, identity))
            above.append(name)
            os.close(folder)
            folder = inner
            todo, identity = _names(folder), _identity(folder)
    finally:
        os.close(folder)


def remove_tree(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it, whatever its depth and the permissions in it.

    What is not there counts as removed. Of links the link is removed, and nothing that it leads to is touched.

    Raises
    ------
    OSError
        If something cannot be removed; all that can be is.
    """
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(facts.st_mode):
        path.unlink(missing_ok=True)
        return
    first_error: OSError | None = None
    for entry in walk(path, unlock=True):
        try:
            (os.rmdir if entry.is_folder else os.unlink)(entry.name, dir_fd=entry.folder)
        except FileNotFoundError:
            continue
        except OSError as error:  # the first: that a folder is not empty then follows from it
            first_error = first_error or error
    if first_error is not None:
        raise first_error
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()


def unlock_folder(name: str, parent: int | None = None) -> bool:
    """Let the owner of a folder, no link to one, read, enter and change it; return whether there is such a folder.

    Raises
    ------
    OSError
        If the folder is another user's.
    """
    if not hasattr(os, "O_PATH"):  # macOS
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return False
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)
        return True
    try:  # Linux sets no mode of a name without following links, but of what is open, by this detour
        descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            Path(f"/proc/self/fd/{descriptor}").chmod(mode | stat.S_IRWXU)
    finally:
        os.close(descriptor)
    return True


def _enter(name: str, parent: int | None, *, unlock: bool) -> int | None:
    """Return the descriptor of a folder, and None where it cannot be read or entered, or is none."""
    descriptor = -1
    try:
        if unlock:
            with contextlib.suppress(PermissionError):
                unlock_folder(name, parent)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=parent)
        os.stat(".", dir_fd=descriptor)  # also the way back is closed where it may be read and not entered
    except OSError:
        if descriptor >= 0:
            os.close(descriptor)
        return None
    return descriptor


def _names(folder: int) -> list[str]:
    return os.listdir(folder)


def _identity(folder: int) -> tuple[int, int]:
    """Return device and inode of an open folder."""
    facts = os.fstat(folder)
    return facts.st_dev, facts.st_ino
