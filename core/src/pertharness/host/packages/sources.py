"""Watch the files of a plugin for changes since the keys of its jobs were made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pertharness.files.whole import sha256_file
from pertharness.host.store.hashes import identity_of


class Sources:
    """Files that jobs import during a run; results after an edit would need another key.

    Parameters
    ----------
    paths
        Paths of the files, read before their hash enters a key.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self._identities = self._look()
        self._sums = [_sum(path) for path in self.paths]

    def find_changed(self) -> Path | None:
        """Return a file whose content has changed; None if there is none.

        A file with another identity or time is read again, because only its content counts.
        """
        now = self._look()
        if now == self._identities:
            return None
        for path, digest in zip(self.paths, self._sums, strict=True):
            if _sum(path) != digest:
                return path
        self._identities = now
        return None

    def _look(self) -> list[tuple[int, ...]]:
        return [_identity(path) for path in self.paths]


def _identity(path: Path) -> tuple[int, ...]:
    try:
        return identity_of(path.stat())
    except OSError:
        return ()


def _sum(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError:
        return ""
