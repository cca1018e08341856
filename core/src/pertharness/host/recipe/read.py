"""Read recipes, with the line of every error, and write them in full."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pertharness.contract.errors import RecipeError
from pertharness.data.containers import is_zarr
from pertharness.files.whole import write_text
from pertharness.host.recipe.models import (
    Recipe,
    TaskChoice,
)
from pertharness.host.recipe.position import Location, key_lines, line_of, toml
from pertharness.host.recipe.text import to_toml
from pertharness.host.splits import KINDS, split_problems
from pertharness.host.text.did_you_mean import expected

Problem = tuple[Location, str]
MAX_INTEGER = 2**63 - 1
"""TOML guarantees 64 bits."""
MAX_BYTES = 1_000_000
"""Size of a recipe; the longest of pertharness has 3 kB."""
MAX_DEPTH = 32
"""Depth of nested values: far more than a parameter needs, and far below Python's recursion limit."""


def read_recipe(path: Path, *, must_exist: bool = True) -> Recipe:
    """Read a recipe; relative paths start at its folder.

    Parameters
    ----------
    path
        Path of the TOML file.
    must_exist
        Whether the files that the recipe names must exist.

    Raises
    ------
    RecipeError
        As `parse_recipe`; also if the recipe cannot be read, or a file that it names does not exist.
    """
    text = _read_text(path)
    recipe = parse_recipe(text, str(path), path.parent)
    if must_exist:
        _raise_problems(_find_missing_files(recipe), text, str(path))
    return recipe


def _read_text(path: Path) -> str:
    """Return the text of a recipe, which may come from a pipe; stop reading at the size limit."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: the path has a NUL
        raise RecipeError(f"recipe {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_BYTES:
        raise RecipeError(f"recipe {path} is larger than {MAX_BYTES} bytes; expected a TOML file of some lines")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"recipe {path} is not UTF-8 text, it begins with {content[:8]!r}: {error}; save it as UTF-8"
        ) from error


def parse_recipe(text: str, origin: str, base: Path) -> Recipe:
    """Parse the TOML text of a recipe.

    Parameters
    ----------
    text
        The TOML text.
    origin
        Name of the text in messages.
    base
        Where relative paths start.

    Raises
    ------
    RecipeError
        With origin, line and key of every problem, and the closest valid name.
    """
    try:
        data: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        raise RecipeError(f"{origin}:{line}: not TOML: {error}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; hundreds of brackets
        raise RecipeError(f"{origin}:1: cannot be read as TOML: {error}") from error
    _raise_problems(_find_unusable(data, ()), text, origin)
    try:
        recipe = Recipe.model_validate(data, context={"base": base})
    except ValidationError as error:
        raise _as_error(map(_as_problem, error.errors(include_url=False)), text, origin) from error
    _raise_problems(_find_contradictions(recipe), text, origin)
    return recipe


def check_not_empty(recipe: Recipe, origin: str) -> None:
    """Check that a recipe has a dataset and a task.

    Raises
    ------
    RecipeError
        If it has no dataset or no task; the message shows what to add.
    """
    absent = {"no dataset": not recipe.datasets, "no task": not recipe.tasks}
    if any(absent.values()):
        missing = " and ".join(name for name, is_absent in absent.items() if is_absent)
        raise RecipeError(
            f"{origin}: the recipe names {missing}, so there is nothing to run; expected at least [datasets.demo] and "
            'one [[tasks]] with split = { kind = "double" }; docs/recipe.md describes both'
        )


def make_recipe(data: Mapping[str, Any]) -> Recipe:
    """Make a recipe from data, such as the options of a command.

    Raises
    ------
    RecipeError
        With the key of every problem, and the closest valid name.
    """
    try:
        recipe = Recipe.model_validate(_with_lists(dict(data)))
    except ValidationError as error:
        problems = [_as_problem(details) for details in error.errors(include_url=False)]
    else:
        problems = list(_find_contradictions(recipe))
    if problems:
        raise RecipeError("\n".join(f"{_key_text(location)}: {message}" for location, message in problems))
    return recipe


def recipe_text(recipe: Recipe) -> str:
    """Return the TOML text of a recipe with its defaults and absolute paths; it reads back as the same recipe."""
    return to_toml(_with_lists(recipe.model_dump(exclude_none=True)))


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe with its defaults and absolute paths, atomically."""
    write_text(path, recipe_text(recipe))


def _raise_problems(stream: Iterator[Problem], text: str, origin: str) -> None:
    """Raise one error of all problems, if there are any."""
    if problems := list(stream):
        raise _as_error(problems, text, origin)


def _as_error(problems: Iterable[Problem], text: str, origin: str) -> RecipeError:
    """Return one error of all problems, sorted by line."""
    lines = key_lines(text)
    placed = sorted((line_of(location, lines), _key_text(location), message) for location, message in problems)
    return RecipeError("\n".join(f"{origin}:{line}: {key}: {message}" for line, key, message in placed))


def _key_text(location: Location) -> str:
    """Return a location as a user would write it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _find_unusable(value: Any, location: Location) -> Iterator[Problem]:
    """Yield values that TOML has but JSON or a job file cannot hold."""
    if len(location) > MAX_DEPTH:
        yield location[:MAX_DEPTH], f"nested more than {MAX_DEPTH} deep"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _find_unusable(item, (*location, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _find_unusable(item, (*location, i))
    elif isinstance(value, datetime.date | datetime.time):
        yield location, f"a date or time, {value}; put it in quotes"
    elif isinstance(value, float) and not math.isfinite(value):
        yield location, f"{value} is not a number that a recipe can use"
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        yield location, "a whole number of more than 64 bits"


# pydantic's name of a type error -> the expected type in plain words.
_TYPES = {
    "string_type": "a text in quotes", "int_type": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "tuple_type": "a list in brackets", "dict_type": "a table", "model_type": "a table",
    "dataclass_type": "a text in quotes", "model_attributes_type": "a table",
}  # fmt: skip

_NAMES = "a name of letters, digits, '_' and '-', a letter first"
_FORMS: dict[str | int, str] = {"device": "'cpu', 'cuda' or 'cuda:N'"}


def _as_problem(error: Mapping[str, Any]) -> Problem:
    """Return a pydantic error as a problem."""
    location: Location = tuple(part for part in error["loc"] if part != "[key]")
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return location, f"unknown key; {expected(str(location[-1]), _model_at(location[:-1]).model_fields)}"
    if kind == "missing":
        return location, "is missing"
    if kind in _TYPES:
        return location, f"expected {_TYPES[kind]}, got {value!r:.80}"
    if kind == "value_error":
        return location, str(error["msg"]).removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        return location, f"expected {_FORMS.get(location[-1], _NAMES)}, got {value!r:.80}"
    message = str(error["msg"])
    return location, f"{message[0].lower()}{message[1:]}, got {value!r:.80}"


def _model_at(location: Location) -> type[BaseModel]:
    """Return the model of the recipe's part at a location; names of datasets and positions are skipped."""
    model: type[BaseModel] = Recipe
    for part in location:
        field = model.model_fields.get(str(part)) if isinstance(part, str) else None
        inside = (field.annotation, *get_args(field.annotation)) if field else ()
        # On Python 3.10, an alias such as tuple[X, ...] is an instance of type, but not a class.
        classes = (x for x in inside if isinstance(x, type) and get_origin(x) is None)
        model = next((x for x in classes if issubclass(x, BaseModel)), model)
    return model


def _find_contradictions(recipe: Recipe) -> Iterator[Problem]:
    """Yield problems between parts of a recipe that are valid by themselves."""
    for i, task in enumerate(recipe.tasks):
        at: Location = ("tasks", i)
        yield from (((*at, *inner), message) for inner, message in _find_task_problems(task, recipe))
        for earlier in recipe.tasks[:i]:
            overlap = task.dataset is None or earlier.dataset is None or task.dataset == earlier.dataset
            if task.name and task.name == earlier.name and overlap:
                yield (*at, "name"), f"two tasks of a dataset are named {task.name!r}; give each its own name"
    yield from _find_left_out_models(recipe)
    for i, prediction in enumerate(recipe.predictions):
        at = ("predictions", i)
        if not prediction.dataset:
            yield at, f"'dataset' is missing; {expected('', recipe.datasets)}"
        elif prediction.dataset not in recipe.datasets:
            message = f"no dataset {prediction.dataset!r}; {expected(prediction.dataset, recipe.datasets)}"
            yield (*at, "dataset"), message
        if any((x.name, x.dataset) == (prediction.name, prediction.dataset) for x in recipe.predictions[:i]):
            yield (*at, "name"), f"two predictions of a dataset are named {prediction.name!r}"


def _find_left_out_models(recipe: Recipe) -> Iterator[Problem]:
    """Yield models that are both left out and among those of the recipe."""
    locations = {spec.text(): ("models", i) for i, spec in enumerate(recipe.models or ())}
    locations |= {entry.name: ("predictions", i) for i, entry in enumerate(recipe.predictions)}
    for name in recipe.left_out:
        if name in locations:
            yield ("left_out", name), f"{name!r} is also in {locations[name][0]}; remove it from one of the two"


def _find_task_problems(task: TaskChoice, recipe: Recipe) -> Iterator[Problem]:
    """Yield the problems of one task, located within it."""
    names = {("dataset",): task.dataset} | {("references", i): name for i, name in enumerate(task.references)}
    for location, name in names.items():
        if name is not None and name not in recipe.datasets:
            yield location, f"no dataset {name!r}; {expected(name, recipe.datasets)}"
        elif name is not None and location[0] == "references" and name == task.dataset:
            yield location, f"{name!r} is the task's own dataset"
    split = task.split
    if split.kind == "file":
        if not task.name:
            yield ("name",), "is missing; a task whose split is a file needs the name 'double' or 'single'"
        if split.file is None:
            yield ("split",), "kind 'file' needs 'file', the path of the split"
        for key in (*split.params, *(["variant"] if split.variant else [])):
            yield ("split", key), f"kind 'file' takes no key {key!r}; {expected(key, ['file'])}"
    elif split.kind not in KINDS:
        scored = [kind for kind, about in KINDS.items() if about.holds_out]
        yield ("split", "kind"), f"no split kind {split.kind!r}; {expected(split.kind, [*scored, 'file'])}"
    elif not KINDS[split.kind].holds_out:
        message = f"split kind {split.kind!r} holds nothing out, so there is nothing to score"
        yield ("split", "kind"), f"{message}; use pertharness predict, or a kind that holds perturbations out"
    else:
        if split.file is not None:
            yield ("split", "file"), f"kind {split.kind!r} takes no file; expected kind 'file' with it"
        yield from (
            (("split", key), message) for key, message in split_problems(split.kind, split.variant, split.params)
        )
        # Seeds belong to the recipe, so the message names the task's kind.
        first = KINDS[split.kind].first_seed
        if min(recipe.seeds) < first:
            yield ("split",), f"kind {split.kind!r} counts its seeds from {first}, and seeds has {min(recipe.seeds)}"


def _find_missing_files(recipe: Recipe) -> Iterator[Problem]:
    """Yield files that the recipe names but that do not exist."""
    named: dict[Location, Path | None] = {("datasets", name, "file"): x.file for name, x in recipe.datasets.items()}
    named |= {("tasks", i, "split", "file"): task.split.file for i, task in enumerate(recipe.tasks)}
    named |= {("predictions", i, "file"): x.file for i, x in enumerate(recipe.predictions)}
    yield from ((at, f"no file {path}") for at, path in named.items() if path is not None and not _is_file(path))


def _is_file(path: Path) -> bool:
    """Return whether a file exists; False for an impossible path, such as a name of 5000 letters."""
    try:
        return path.is_file() or is_zarr(path)
    except OSError:
        return False


def _with_lists(value: Any) -> Any:
    """Return plain data with tuples replaced by lists."""
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, list | tuple) else value
