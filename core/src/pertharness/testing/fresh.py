"""Whether a plugin keeps something between calls: each call is held against one in modules imported anew."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pertharness.contract.distributions import top_level_modules
from pertharness.contract.errors import ContractError, Skip
from pertharness.contract.protocol import PROJECT
from pertharness.testing.declared import distribution_of

Value = TypeVar("Value")


def own_modules(module: str) -> list[str]:
    """Return the modules in which a plugin may keep something: of each, those below it belong to it.

    Parameters
    ----------
    module
        Module of the plugin. All top-level modules of its distribution are taken; of this package, none but the module
        itself.
    """
    top = module.partition(".")[0]
    if top == PROJECT:
        return [module]
    owner = distribution_of(module)
    return sorted({top, *(top_level_modules(owner) if owner is not None else ())})


@contextlib.contextmanager
def fresh_modules(modules: Collection[str]) -> Iterator[None]:
    """Let modules, and those below them, be imported anew for a while; what they kept so far comes back afterwards.

    Parameters
    ----------
    modules
        From `own_modules`.
    """

    def take_out() -> dict[str, Any]:
        names = [name for name in sys.modules if any(f"{name}.".startswith(f"{own}.") for own in modules)]
        return {name: sys.modules.pop(name) for name in names}

    before = take_out()
    try:
        yield
    finally:
        take_out()
        sys.modules.update(before)


def check_kept_nothing(
    module: str, first: Value, make: Callable[[], Value], others: Sequence[Callable[[Mapping[str, Any] | None], Any]],
    difference: Callable[[Value, Value], str], params: Mapping[str, Any],
) -> None:  # fmt: skip
    """Check that a call gives the same after others, with other data, another seed or other parameters.

    Parameters
    ----------
    module
        Module of the plugin.
    first
        What the call gave before.
    make
        Makes the call again.
    others
        Each makes another call, with these parameters; None: the usual ones.
    difference
        Returns how two answers differ; empty if they do not.
    params
        The usual parameters.

    Raises
    ------
    ContractError
        If the answer depends on the call before it.
    Skip
        If the answer differs without any call before it, too.
    """
    own = own_modules(module)
    with fresh_modules(own):
        for other in others:
            _try(other, params)
        after = make()
    if not difference(first, after):
        return
    with fresh_modules(own):
        alone = make()
    with fresh_modules(own):
        if difference(alone, make()):
            raise Skip("not tried, because two calls with one seed differ")
    differs = difference(alone, after) or difference(alone, first)
    if differs:
        raise ContractError(
            f"after a call with other data, another seed or other parameters, {differs}; keep nothing in the module, "
            "such as a dict that a hook fills: an answer is to depend on the arguments alone"
        )


def _try(other: Callable[[Mapping[str, Any] | None], Any], params: Mapping[str, Any]) -> None:
    """Make another call, if need be with the usual parameters; what comes of it does not matter."""
    with contextlib.suppress(Exception):
        other(_move(params))
        return
    with contextlib.suppress(Exception):  # the parameters were none that go together
        other(None)


def _move(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return other values for the parameters that are numbers: halves, and integers one higher."""
    moved = {}
    for name, value in params.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        moved[name] = (value + 1 if isinstance(value, int) else value / 2) if is_number else value
    return moved
