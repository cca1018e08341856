"""Errors for broken contracts, and checks that several contracts share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from pertharness.contract.errors import ContractError

Refuse = Callable[[str], ContractError]
"""Function that makes the exception for a problem with an answer."""


def refusal_of(plugin: str, hook: str, offer: str) -> Refuse:
    """Return a function that makes exceptions with the names of this plugin, hook and offer."""
    name = f"({offer!r})" if offer else "()"
    return lambda problem: ContractError(f"plugin {plugin!r}, hook {hook}{name}: {problem}")


def check_known(kind: str, labels: Iterable[Any], expected: Iterable[str], refuse: Refuse) -> None:
    """Raise an error for labels that were not requested, or that are duplicated."""
    names = [str(label) for label in labels]
    allowed = set(expected)
    extra = [name for name in names if name not in allowed]
    if extra:
        raise refuse(f"the {kind} {extra[0]!r} was not requested (requested: {list_some(allowed)})")
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise refuse(f"duplicate {kind} {repeated[0]!r}; expected each once")


def check_anndata(value: Any, refuse: Refuse) -> None:
    """Raise an error for a value that is not an AnnData."""
    from anndata import AnnData

    if not isinstance(value, AnnData):
        raise refuse(f"returned {type(value).__name__}, expected an AnnData")


def list_some(values: Iterable[Any], most: int = 5) -> str:
    """Return the first few values in alphabetical order, separated by commas."""
    shown = sorted(map(str, values))
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
