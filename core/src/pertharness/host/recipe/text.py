"""The TOML text of a recipe, as tomli-w writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w


def to_toml(data: Mapping[str, Any]) -> str:
    """Return the TOML text of plain data: texts, numbers, booleans, lists and dicts of these.

    A dict becomes a table, a list of dicts an array of tables or, where it is short, of tables on one line each.

    Raises
    ------
    TypeError
        If a value is of another kind, such as None, for which TOML has no spelling.
    """
    return tomli_w.dumps(data)
