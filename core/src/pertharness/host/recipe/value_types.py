"""Read the short texts of recipes and options, such as seeds ``1-5`` and models ``linear[G=embed:scgpt, k=4]``."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from pertharness.contract.errors import RecipeError
from pertharness.host.splits import MAX_SEED

MAX_SEEDS = 1000
"""A range with more seeds is refused as a typing error."""

MAX_CANDIDATES = 256
"""A grid with more combinations is refused: each is fitted on every split, with every training seed."""

STAR = "*"
"""Stands for the values of a grid on the leaderboard, as in ``linear[k=*]``."""

_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
_MODEL = re.compile(rf"\s*(?:({_NAME})/)?({_NAME})\s*(?:\[(.*)\])?\s*", re.DOTALL)
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SLOT_KEY = re.compile(r"[A-Z][A-Z0-9_]*")
_EMBEDDING = re.compile(rf"\s*(embed:)?\s*(?:({_NAME})/)?({_NAME})\s*(?::(.*?))?\s*(?:\[(.*)\])?\s*", re.DOTALL)
_BARE = re.compile(r"[A-Za-z_./~][A-Za-z0-9_./~:+-]*")


@dataclass(frozen=True)
class EmbeddingSpec:
    """The choice of an embedding for a slot, with the file or the dataset that it takes.

    Attributes
    ----------
    argument
        Name of a dataset of the recipe, or path of a file; empty if it takes neither.
    prefixed
        Whether it is written ``embed:NAME``, which means the same as ``NAME``.
    """

    plugin: str | None
    name: str
    argument: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    prefixed: bool = False

    @property
    def full_name(self) -> str:
        """The name, with the plugin's before it if one was named."""
        return f"{self.plugin}/{self.name}" if self.plugin else self.name

    def text(self) -> str:
        """Return the canonical text of this choice, which `parse_embedding` reads back."""
        argument = f":{self.argument}" if self.argument else ""
        return f"{'embed:' if self.prefixed else ''}{self.full_name}{argument}{_params_text(self.params)}"

    def shown(self) -> EmbeddingSpec:
        """Return the choice as tables show it, with only the name of its file."""
        return replace(self, argument=Path(self.argument).name)

    def resolved(self, base: Path, datasets: Collection[str]) -> EmbeddingSpec:
        """Return the choice with the path of its file made absolute; the name of a dataset stays unchanged."""
        if not self.argument or self.argument in datasets:
            return self
        try:
            return replace(self, argument=str((base / Path(self.argument).expanduser()).absolute()))
        except RuntimeError as error:  # no home folder
            raise RecipeError(f"{self.text()!r}: {error}") from error


@dataclass(frozen=True)
class ModelSpec:
    """The choice of a model or scorer: name, embeddings by slot, and parameters that differ from the defaults."""

    plugin: str | None
    name: str
    slots: dict[str, EmbeddingSpec] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Slot or parameter -> the values to choose from, embeddings or parameters, in the order in which they are written.
    With any, this is a grid: each combination of values is a candidate."""

    @property
    def full_name(self) -> str:
        """The name, with the plugin's before it if one was named."""
        return f"{self.plugin}/{self.name}" if self.plugin else self.name

    @property
    def embeddings(self) -> tuple[EmbeddingSpec, ...]:
        """The embeddings of its slots, those to choose from included."""
        written = (*self.slots.values(), *itertools.chain.from_iterable(self.grid.values()))
        return tuple(value for value in written if isinstance(value, EmbeddingSpec))

    def text(self) -> str:
        """Return the canonical text of this choice, which `parse_model` reads back."""
        return self.full_name + _params_text(self.slots | self.params, self.grid)

    def resolved(self, base: Path, datasets: Collection[str]) -> ModelSpec:
        """Return the choice with the paths of its slots' files made absolute."""

        def resolve(value: Any) -> Any:
            return value.resolved(base, datasets) if isinstance(value, EmbeddingSpec) else value

        slots = {slot: resolve(made) for slot, made in self.slots.items()}
        grid = {key: tuple(map(resolve, values)) for key, values in self.grid.items()}
        return replace(self, slots=slots, grid=grid)

    def candidates(self) -> list[ModelSpec]:
        """Return the models of a grid in the order in which they are written, the last key varying fastest."""
        combinations = itertools.product(*self.grid.values())
        return [self._with(dict(zip(self.grid, values, strict=True))) for values in combinations]

    def starred(self) -> ModelSpec:
        """Return the choice as the leaderboard names it: with ``*`` in place of the values of a grid."""
        return self._with(dict.fromkeys(self.grid, STAR))

    def _with(self, values: Mapping[str, Any]) -> ModelSpec:
        """Return the choice with values in place of its grid."""
        slots = {key: value for key, value in values.items() if isinstance(value, EmbeddingSpec)}
        params = {key: value for key, value in values.items() if key not in slots}
        return replace(self, slots=self.slots | slots, params=self.params | params, grid={})


def parse_model(text: str) -> ModelSpec:
    """Read ``NAME``, ``PLUGIN/NAME`` or ``NAME[KEY=VALUE, ...]``.

    A value is JSON, or else plain text. Text under an upper-case key fills a slot: see `parse_embedding`. Several
    values separated by ``|`` make a grid.

    Raises
    ------
    RecipeError
        If the text has another form, a key is named twice, or a grid repeats a value or has too many combinations.
    """
    match = _MODEL.fullmatch(text)
    if not match:
        raise RecipeError(f"{text!r} is not a model; expected NAME, PLUGIN/NAME or NAME[KEY=VALUE, ...]")
    slots: dict[str, EmbeddingSpec] = {}
    params: dict[str, Any] = {}
    grid: dict[str, tuple[Any, ...]] = {}
    for key, values in _read_params(match[3] or "", text).items():
        read = _embeddings_of(key, values, text) if _is_slot(key, values) else values
        if len(read) > 1:
            _check_each_once(key, read, text)
            grid[key] = read
        elif isinstance(read[0], EmbeddingSpec):
            slots[key] = read[0]
        else:
            params[key] = read[0]
    n_candidates = math.prod(map(len, grid.values()))
    if n_candidates > MAX_CANDIDATES:
        problem = f"the grid {text!r:.80} has {n_candidates} combinations"
        raise RecipeError(f"{problem}; expected at most {MAX_CANDIDATES}: name fewer values")
    return ModelSpec(match[1], match[2], slots, params, grid)


def _is_slot(key: str, values: Iterable[Any]) -> bool:
    """Return whether values fill a slot: text under an upper-case key, except the star of a leaderboard's name."""
    return bool(_SLOT_KEY.fullmatch(key)) and any(isinstance(value, str) and value != STAR for value in values)


def _embeddings_of(key: str, values: Iterable[Any], whole: str) -> tuple[EmbeddingSpec, ...]:
    """Read the embeddings to choose from for a slot; one with a grid among its own parameters becomes several."""
    embeddings: list[EmbeddingSpec] = []
    for value in values:
        if not isinstance(value, str):
            raise RecipeError(f"{key}={value!r} in {whole!r} is not an embedding; expected e.g. {key}=random|identity")
        embeddings += _read_embeddings(value)
    return tuple(embeddings)


def _check_each_once(key: str, values: tuple[Any, ...], whole: str) -> None:
    """Check that a grid repeats no value; 1 and 1.0 are the same, 1 and true are not."""
    for i, value in enumerate(values):
        if any(value == earlier and isinstance(value, bool) == isinstance(earlier, bool) for earlier in values[:i]):
            raise RecipeError(f"duplicate value {_value_text(value)} of {key!r} in {whole!r}; name it once")


def parse_embedding(text: str) -> EmbeddingSpec:
    """Read an embedding: ``NAME``, ``NAME:FILE`` or ``NAME:DATASET``, optionally followed by ``[KEY=VALUE, ...]``.

    ``PLUGIN/NAME`` names the plugin too. The text may begin with ``embed:``.

    Raises
    ------
    RecipeError
        If the text has another form, a key is named twice, or it has several values.
    """
    embeddings = _read_embeddings(text)
    if len(embeddings) > 1:
        raise RecipeError(f"{text!r} has several values; expected one embedding")
    return embeddings[0]


def _read_embeddings(text: str) -> list[EmbeddingSpec]:
    """Read an embedding, or several where its parameters have several values."""
    match = _EMBEDDING.fullmatch(text)
    if not match or match[4] == "" or "\0" in text:
        raise RecipeError(
            f"{text!r} is not an embedding; expected NAME, NAME:FILE or NAME:DATASET, with [KEY=VALUE, ...] if need be"
        )
    params = _read_params(match[5] or "", text)
    n_combinations = math.prod(map(len, params.values()))
    if n_combinations > MAX_CANDIDATES:
        raise RecipeError(
            f"{text!r:.80} has {n_combinations} combinations of values; expected at most {MAX_CANDIDATES}"
        )
    return [
        EmbeddingSpec(match[2], match[3], match[4] or "", dict(zip(params, values, strict=True)), bool(match[1]))
        for values in itertools.product(*params.values())
    ]


def _read_params(written: str, whole: str) -> dict[str, tuple[Any, ...]]:
    """Read ``KEY=VALUE, ...``, where several values are separated by ``|``."""
    params: dict[str, tuple[Any, ...]] = {}
    for argument in _split(written, ",", whole):
        key, _, value = (part.strip() for part in argument.partition("="))
        if not _KEY.fullmatch(key) or not value:
            raise RecipeError(f"{argument.strip()!r} in {whole!r} is not KEY=VALUE; expected e.g. k=4 or P=random")
        if key in params:
            raise RecipeError(f"duplicate key {key!r} in {whole!r}; give it one value")
        values = [piece.strip() for piece in _split(value, "|", whole)]
        if not all(values):
            raise RecipeError(f"a value of {key!r} in {whole!r} is empty; expected e.g. {key}=5|10, or quotes around |")
        params[key] = tuple(map(read_value, values))
    return params


def parse_models(text: str) -> tuple[ModelSpec, ...]:
    """Read models separated by commas, such as ``mean,linear[k=4, ridge=1]``.

    Raises
    ------
    RecipeError
        If one of them is not a model, or the text is empty.
    """
    return tuple(parse_model(piece) for piece in _split(text, ",", text) or [text])


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds such as ``3``, ``1-5`` or ``1,3-4``.

    Raises
    ------
    RecipeError
        If the text has another form, a range descends, or a seed is repeated or too large.
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
        raise RecipeError(f"duplicate seed in seeds {text!r}")
    return tuple(seeds)


def _split(text: str, separator: str, whole: str) -> list[str]:
    """Split at the separators outside strings and brackets."""
    pieces, depth, quoted, escaped = [""], 0, False, False
    for char in text:
        if quoted:
            quoted, escaped = escaped or char != '"', char == "\\" and not escaped
        elif char == separator and depth == 0:
            pieces.append("")
            continue
        else:
            quoted = char == '"'
            depth += (char in "[{") - (char in "]}")
        if depth < 0:
            break
        pieces[-1] += char
    if depth or quoted:
        raise RecipeError(f"unclosed bracket or quote in {whole!r}")
    return pieces if text.strip() else []


def read_value(text: str) -> Any:
    """Read a text as JSON; return the text itself if it is not JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return text


def _refuse_constant(text: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``, which are not JSON, so that they are read as text."""
    raise ValueError(text)


def _finite(text: str) -> float:
    """Read a number that fits into a float."""
    value = float(text)
    if not math.isfinite(value):
        raise RecipeError(f"the number {text} is out of range")
    return value


def _params_text(params: Mapping[str, Any], grid: Mapping[str, tuple[Any, ...]] = MappingProxyType({})) -> str:
    """Return parameters as text in brackets, empty without parameters; those of a grid in their written order."""
    arguments = [f"{key}={_value_text(value)}" for key, value in sorted(params.items())]
    arguments += [f"{key}={'|'.join(map(_value_text, values))}" for key, values in grid.items()]
    return f"[{', '.join(arguments)}]" if arguments else ""


def _value_text(value: Any) -> str:
    """Return a value as text: bare if it reads back as the same text, else as JSON."""
    if isinstance(value, EmbeddingSpec):
        text = value.text()
        return text if _is_one_argument(text) else json.dumps(text)
    if isinstance(value, str) and (value == STAR or _BARE.fullmatch(value)) and read_value(value) == value:
        return value
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _is_one_argument(text: str) -> bool:
    """Return whether a text is not JSON and reads back as a single argument with a single value."""
    try:
        is_single = all(_split(text, separator, text) == [text] for separator in ",|")
        return '"' not in text and is_single and read_value(text) == text == text.strip()
    except RecipeError:
        return False
