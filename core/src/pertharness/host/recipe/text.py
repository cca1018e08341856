"""TOML text of plain data, as far as recipes need it; Python reads TOML but does not write it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(data: Mapping[str, Any]) -> str:
    """Return the TOML text of texts, numbers, booleans, lists and dicts of these.

    At the top, a dict becomes a table, a dict of dicts a table each, and a list of dicts an array of tables; further
    inside they are written inline.
    """
    plain = {key: value for key, value in data.items() if not _is_tables(value) and not isinstance(value, dict)}
    blocks = ["".join(_pairs(plain))] if plain else []
    for key, value in data.items():
        if key in plain:
            continue
        if isinstance(value, list):
            blocks += [f"[[{_key(key)}]]\n" + "".join(_pairs(item)) for item in value]
        elif _is_tables(list(value.values())):
            blocks += [f"[{_key(key)}.{_key(name)}]\n" + "".join(_pairs(item)) for name, item in value.items()]
        else:
            blocks.append(f"[{_key(key)}]\n" + "".join(_pairs(value)))
    return "\n".join(blocks)


def _is_tables(value: Any) -> bool:
    """Whether this is a list of dicts and of nothing else."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _pairs(table: Mapping[str, Any]) -> Iterator[str]:
    """Lines of a table."""
    return (f"{_key(key)} = {_value(value)}\n" for key, value in table.items())


def _key(key: str) -> str:
    """Key, quoted where it must be."""
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    """Value on one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if not isinstance(value, str | bool | int | float):
        raise TypeError(f"no TOML for {value!r}")
    # JSON's spelling of texts, numbers and booleans is TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
