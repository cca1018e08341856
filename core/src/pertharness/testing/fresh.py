"""Check that a plugin keeps no state between calls, by comparison with calls in freshly imported modules."""

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
    """Return the modules in which a plugin may keep state; their submodules are implied.

    Parameters
    ----------
    module
        Module of the plugin. All top-level modules of its distribution are returned; for a plugin in this package, only
        the module itself.
    """
    top = module.partition(".")[0]
    if top == PROJECT:
        return [module]
    owner = distribution_of(module)
    return sorted({top, *(top_level_modules(owner) if owner is not None else ())})


@contextlib.contextmanager
def fresh_modules(modules: Collection[str]) -> Iterator[None]:
    """Import modules and their submodules afresh within the block; the old modules are restored afterwards.

    Parameters
    ----------
    modules
        Result of `own_modules`.
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
    """Check that the result of a call does not depend on earlier calls with other data, seeds or parameters.

    Parameters
    ----------
    module
        Module of the plugin.
    first
        Result of the first call.
    make
        Function that repeats the call.
    others
        Functions that make other calls with the given parameters, or with the usual ones if given None.
    difference
        Function that returns how two results differ; empty if they are equal.
    params
        The usual parameters.

    Raises
    ------
    ContractError
        If the result depends on the calls before it.
    Skip
        If the result differs even without calls before it.
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
    """Make another call, with the usual parameters if changed ones fail; errors are ignored."""
    with contextlib.suppress(Exception):
        other(_move(params))
        return
    with contextlib.suppress(Exception):  # the changed parameters may not be valid together
        other(None)


def _move(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with changed numbers: floats are halved, integers are increased by 1."""
    moved = {}
    for name, value in params.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        moved[name] = (value + 1 if isinstance(value, int) else value / 2) if is_number else value
    return moved
