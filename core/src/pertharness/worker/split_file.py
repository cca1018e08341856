"""The file of a split, as a worker reads it."""

from __future__ import annotations

import json
from pathlib import Path


def read_split(path: Path) -> dict[str, list[str]]:
    """Return the lists of a split that the host wrote."""
    parts: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return parts
