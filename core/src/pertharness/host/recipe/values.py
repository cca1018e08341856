"""The short texts of recipes and options: seeds such as ``1-5`` and models such as ``linear[G=embed:scgpt, k=4]``."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pertharness.errors import RecipeError
from pertharness.host.splits import MAX_SEED

MAX_SEEDS = 1000
"""A range with more seeds than this is taken for a slip."""

_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
_MODEL = re.compile(rf"\s*(?:({_NAME})/)?({_NAME})\s*(?:\[(.*)\])?\s*", re.DOTALL)
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SLOT_KEY = re.compile(r"[A-Z][A-Z0-9_]*")
_SLOT_VALUE = re.compile(r"[a-z_]+:.+", re.DOTALL)
_BARE = re.compile(r"[A-Za-z_./~][A-Za-z0-9_./~:+-]*")


@dataclass(frozen=True)
class ModelSpec:
    """A model or scorer as it is asked for: name, embeddings by slot, and parameters that differ from the default."""

    plugin: str | None
    name: str
    slots: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """The name, with the plugin's before it if one was named."""
        return f"{self.plugin}/{self.name}" if self.plugin else self.name

    def text(self) -> str:
        """Give the one spelling of this choice, which `parse_model` reads back."""
        arguments = [f"{key}={_value_text(value)}" for key, value in sorted((self.slots | self.params).items())]
        return self.full_name + (f"[{', '.join(arguments)}]" if arguments else "")


def parse_model(text: str) -> ModelSpec:
    """Read ``NAME``, ``PLUGIN/NAME`` or ``NAME[KEY=VALUE, ...]``.

    A value is JSON, or else a text as it stands. One of the form ``word:rest`` under an upper-case key fills a slot.

    Raises
    ------
    RecipeError
        If the text has another form, or a key is named twice.
    """
    match = _MODEL.fullmatch(text)
    if not match:
        raise RecipeError(f"{text!r} is not a model; expected NAME, PLUGIN/NAME or NAME[KEY=VALUE, ...]")
    slots: dict[str, str] = {}
    params: dict[str, Any] = {}
    for argument in _arguments(match[3] or "", text):
        key, _, written = (part.strip() for part in argument.partition("="))
        if not _KEY.fullmatch(key) or not written:
            raise RecipeError(f"{argument.strip()!r} in {text!r} is not KEY=VALUE")
        if key in slots or key in params:
            raise RecipeError(f"{key!r} is there twice in {text!r}; give it one value")
        value = _read_value(written)
        if _SLOT_KEY.fullmatch(key) and isinstance(value, str) and _SLOT_VALUE.fullmatch(value):
            slots[key] = value
        else:
            params[key] = value
    return ModelSpec(match[1], match[2], slots, params)


def parse_models(text: str) -> tuple[ModelSpec, ...]:
    """Read models with commas between them, such as ``mean,linear[k=4, ridge=1]``.

    Raises
    ------
    RecipeError
        If one of them is no model, or there is none.
    """
    return tuple(parse_model(piece) for piece in _arguments(text, text) or [text])


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds such as ``3``, ``1-5`` or ``1,3-4``.

    Raises
    ------
    RecipeError
        If the text has another form, a range runs down, or a seed is named twice or too large.
    """
    seeds: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,10})\s*(?:-\s*([0-9]{1,10})\s*)?", piece)
        if not match:
            raise RecipeError(f"{piece.strip()!r} in seeds {text!r} is neither a seed nor a range; expected e.g. '1-5'")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last > MAX_SEED:
            raise RecipeError(f"{piece.strip()!r} in seeds {text!r}: expected a range upwards, to {MAX_SEED} at most")
        if last - first + len(seeds) >= MAX_SEEDS:
            raise RecipeError(f"seeds {text!r} are more than {MAX_SEEDS}")
        seeds.extend(range(first, last + 1))
    if len(set(seeds)) < len(seeds):
        raise RecipeError(f"seeds {text!r} name a seed twice")
    return tuple(seeds)


def _arguments(text: str, whole: str) -> list[str]:
    """Cut at the commas that are in no string and no bracket."""
    pieces, depth, quoted, escaped = [""], 0, False, False
    for char in text:
        if quoted:
            quoted, escaped = escaped or char != '"', char == "\\" and not escaped
        elif char == "," and depth == 0:
            pieces.append("")
            continue
        else:
            quoted = char == '"'
            depth += (char in "[{") - (char in "]}")
        if depth < 0:
            break
        pieces[-1] += char
    if depth or quoted:
        raise RecipeError(f"a bracket or a quote is left open in {whole!r}")
    return pieces if text.strip() else []


def _read_value(text: str) -> Any:
    """Read JSON where it is JSON; any other text stands for itself."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return text


def _refuse_constant(text: str) -> NoReturn:
    """Leave ``NaN`` and ``Infinity``, which are not JSON, to be texts."""
    raise ValueError(text)


def _finite(text: str) -> float:
    """Read a number that fits into a float."""
    value = float(text)
    if not math.isfinite(value):
        raise RecipeError(f"the number {text} is out of range")
    return value


def _value_text(value: Any) -> str:
    """Give the spelling of a value: bare if it then reads back as the same text, else JSON."""
    if isinstance(value, str) and _BARE.fullmatch(value) and _read_value(value) == value:
        return value
    return json.dumps(value, sort_keys=True, allow_nan=False)
