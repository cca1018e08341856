"""Published files: downloaded once, checked at each use, kept in one folder."""

from __future__ import annotations

from pertharness.host.fetch.download import Patience, Progress, SourceError
from pertharness.host.fetch.folder import (
    ByHandError,
    Place,
    default_folder,
    fetch,
    local_file,
    place_of,
    steps_by_hand,
)

__all__ = [
    "ByHandError", "Patience", "Place", "Progress", "SourceError", "default_folder", "fetch", "local_file", "place_of",
    "steps_by_hand",
]  # fmt: skip
