"""Arguments that several functions share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from pertharness.contract.errors import RecipeError
from pertharness.host.store.records import Store
from pertharness.host.text.did_you_mean import expected

RETRIED = ("failed", "invalid", "timeout", "crashed", "skipped")
"""States of records that can be made again."""


def check_words(argument: str, value: str | Iterable[str], words: Collection[str]) -> tuple[str, ...]:
    """Return one word or several as a tuple.

    Raises
    ------
    RecipeError
        If one is not among `words`, with what may have been meant.
    """
    chosen = (value,) if isinstance(value, str) else tuple(value)
    for word in chosen:
        if word not in words:
            raise RecipeError(f"{argument} has no {word!r}; {expected(str(word), words)}")
    return chosen


def several(seeds: str | int | Iterable[int] | None) -> str | Sequence[int] | None:
    """Return seeds as a text such as ``1-5``, or as integers."""
    if seeds is None or isinstance(seeds, str):
        return seeds
    try:
        return [int(seed) for seed in seeds] if isinstance(seeds, Iterable) else [int(seeds)]
    except (TypeError, ValueError):
        raise RecipeError(
            f"seeds is {seeds!r}; expected whole numbers, such as [1, 2], or a text, such as '1-5'"
        ) from None


def open_store(path: str | Path | None) -> Store:
    """Return the store at a path, or the usual one.

    Raises
    ------
    StoreError
        If it cannot be used.
    """
    return Store.open(Path(path) if path is not None else None)
