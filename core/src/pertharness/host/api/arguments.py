"""Arguments that several functions share: checked here, where a caller can still see which one is wrong."""

from __future__ import annotations

import operator
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from pertharness.contract.errors import RecipeError
from pertharness.host.run.run_folder import check_output
from pertharness.host.store.records import Store
from pertharness.host.text.did_you_mean import expected

RETRIED = ("failed", "invalid", "timeout", "crashed", "skipped")
"""States of records that can be made again."""


def as_path(argument: str, value: object) -> Path:
    """Return a path, with the user's home folder in place of ``~``.

    Raises
    ------
    RecipeError
        If the value is not a path, or is empty, which would mean the current folder.
    """
    if not isinstance(value, str | os.PathLike) or not (path := os.fspath(value)) or isinstance(path, bytes):
        raise RecipeError(f"{argument} is {value!r:.80}; expected a path")
    return Path(path).expanduser()


def output_folder(out: str | Path | None, usual: Path) -> Path:
    """Return the absolute path of the folder that a run writes: `out`, or else the usual one.

    Raises
    ------
    RecipeError
        If it is not a path, or no folder can be made there.
    """
    return check_output(as_path("out", out) if out is not None else usual, is_file=False).absolute()


def output_file(out: str | Path) -> Path:
    """Return the path of the file that a function writes.

    Raises
    ------
    RecipeError
        If it is not a path, or no file can be made there.
    """
    return check_output(as_path("out", out), is_file=True)


def as_texts(argument: str, value: str | Iterable[str] | None) -> str | tuple[str, ...] | None:
    """Return names as they were given: a text, or several as a tuple.

    Raises
    ------
    RecipeError
        If they are anything else.
    """
    if value is None or isinstance(value, str):
        return value
    texts = tuple(value) if isinstance(value, Iterable) else (value,)
    if isinstance(value, bytes) or not all(isinstance(text, str) for text in texts):
        raise RecipeError(f"{argument} is {value!r:.80}; expected a text, or a list of texts")
    return texts


def check_words(argument: str, value: str | Iterable[str], words: Collection[str]) -> tuple[str, ...]:
    """Return one word or several as a tuple.

    Raises
    ------
    RecipeError
        If one is not among `words`, with what may have been meant.
    """
    texts = as_texts(argument, value) or ()
    chosen = (texts,) if isinstance(texts, str) else texts
    for word in chosen:
        if word not in words:
            raise RecipeError(f"{argument} has no {word!r}; {expected(word, words)}")
    return chosen


def several(seeds: str | int | Iterable[int] | None) -> str | Sequence[int] | None:
    """Return seeds as a text such as ``1-5``, or as integers.

    Raises
    ------
    RecipeError
        If they are anything else: no number is rounded.
    """
    if seeds is None or isinstance(seeds, str):
        return seeds
    numbers = list(seeds) if isinstance(seeds, Iterable) else [seeds]
    try:
        if any(isinstance(number, bool) for number in numbers):
            raise TypeError
        return [operator.index(number) for number in numbers]
    except TypeError:
        raise RecipeError(
            f"seeds is {seeds!r:.80}; expected whole numbers, such as [1, 2], or a text, such as '1-5'"
        ) from None


def chosen_resources(
    *, jobs: int | None, threads: int | None, timeout_s: float | None, memory_mb: float | None, device: str | None,
    isolation: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Return what a caller chose of a recipe's ``resources``; their values are checked with the recipe."""
    resources = {
        "jobs": jobs, "threads": threads, "timeout_s": timeout_s, "memory_mb": memory_mb, "device": device,
        "isolation": isolation,
    }  # fmt: skip
    return {name: value for name, value in resources.items() if value is not None}


def open_store(path: str | Path | None) -> Store:
    """Return the store at a path, or the usual one.

    Raises
    ------
    RecipeError
        If it is not a path.
    StoreError
        If it cannot be used.
    """
    return Store.open(as_path("store", path) if path is not None else None)
