"""Walk and remove folders of any depth and content; links are never followed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """An entry of a folder that `walk` is visiting.

    Attributes
    ----------
    folder
        Descriptor of the folder; an absolute path may be longer than the system allows.
    name, facts
        Name of the entry, and the result of ``lstat`` for it.
    above
        Names of the folders between the top and the entry. The list is shared by all entries and valid until the next.
    """

    folder: int
    name: str
    facts: os.stat_result
    above: list[str]

    @property
    def is_folder(self) -> bool:
        """Whether the entry is a folder, not a link to one."""
        return stat.S_ISDIR(self.facts.st_mode)


def walk(top: Path, *, unlock: bool = False) -> Iterator[Entry]:
    """Yield all entries below a folder; the content of a folder comes before the folder itself.

    Links are yielded and never followed. `os.walk`, `os.fwalk` and `shutil.rmtree` recurse, keep a descriptor for each
    level, or join paths, so they all fail on a few thousand nested folders. This function keeps one descriptor open and
    looks names up in it. Entries that disappear during the walk are left out.

    Parameters
    ----------
    top
        Folder to walk; if it is not a folder, nothing is yielded.
    unlock
        Whether to add permissions to folders that cannot be entered; otherwise they are yielded without their content.

    Raises
    ------
    OSError
        If the folder that is being visited is moved during the walk.
    """
    folder = _enter(str(top), None, unlock=unlock)
    if folder is None:
        return
    trail: list[tuple[Entry, list[str], tuple[int, int]]] = []
    above: list[str] = []
    todo, identity = _names(folder), _identity(folder)
    try:
        while todo or trail:
            if not todo:  # back to the parent folder
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
    """Remove a file, a link, or a folder with its content, whatever its depth and permissions.

    A missing path counts as removed. A link is removed, its target is not touched.

    Raises
    ------
    OSError
        If an entry cannot be removed. All other entries are removed first.
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
        except OSError as error:  # later ones, such as a folder that is not empty, follow from the first
            first_error = first_error or error
    if first_error is not None:
        raise first_error
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()


def unlock_folder(name: str, parent: int | None = None) -> bool:
    """Allow the owner of a folder to read, enter and change it; return whether it is a folder, not a link to one.

    Raises
    ------
    OSError
        If the folder belongs to another user.
    """
    if not hasattr(os, "O_PATH"):  # macOS
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return False
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)
        return True
    try:  # Linux cannot change the mode of a name without following links, but can do so through /proc/self/fd
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
    """Return the descriptor of a folder; None if it cannot be read or entered, or is not a folder."""
    descriptor = -1
    try:
        if unlock:
            with contextlib.suppress(PermissionError):
                unlock_folder(name, parent)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=parent)
        os.stat(".", dir_fd=descriptor)  # fails if the folder cannot be entered, as ".." would later
    except OSError:
        if descriptor >= 0:
            os.close(descriptor)
        return None
    return descriptor


def _names(folder: int) -> list[str]:
    return os.listdir(folder)


def _identity(folder: int) -> tuple[int, int]:
    """Return the device and inode of an open folder."""
    facts = os.fstat(folder)
    return facts.st_dev, facts.st_ino
