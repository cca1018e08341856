"""Read the file of a split."""

from __future__ import annotations

import json
from pathlib import Path


def read_split(path: Path) -> dict[str, list[str]]:
    """Return the parts of a split: name -> perturbations."""
    parts: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return parts
