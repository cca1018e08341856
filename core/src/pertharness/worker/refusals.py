"""Refusals: how a broken contract is put into words, and what several contracts have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from pertharness.contract.errors import ContractError

Refuse = Callable[[str], ContractError]
"""Makes the exception for what is wrong with an answer."""


def refusal_of(plugin: str, hook: str, offer: str) -> Refuse:
    """Return what makes the exceptions that name this plugin, hook and offer."""
    name = f"({offer!r})" if offer else "()"
    return lambda problem: ContractError(f"plugin {plugin!r}, hook {hook}{name}: {problem}")


def check_known(kind: str, labels: Iterable[Any], expected: Iterable[str], refuse: Refuse) -> None:
    """Refuse labels that were not asked for, or come twice."""
    names = [str(label) for label in labels]
    allowed = set(expected)
    extra = [name for name in names if name not in allowed]
    if extra:
        raise refuse(f"the {kind} {extra[0]!r} was not asked for (asked: {list_some(allowed)})")
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise refuse(f"the {kind} {repeated[0]!r} comes more than once")


def check_anndata(value: Any, refuse: Refuse) -> None:
    """Refuse what is no AnnData."""
    from anndata import AnnData

    if not isinstance(value, AnnData):
        raise refuse(f"gave {type(value).__name__}, expected an AnnData")


def list_some(values: Iterable[Any], most: int = 5) -> str:
    """Return the first few of some values in alphabetical order, with commas between them."""
    shown = sorted(map(str, values))
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
