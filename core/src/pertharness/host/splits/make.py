"""The kinds of split, and the function that makes a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pertharness.contract.errors import SplitError
from pertharness.host.splits import rules
from pertharness.host.splits.split import Labelled, Parts, Split, build_split, check_labels
from pertharness.host.text.did_you_mean import expected

MAX_SEED = 2**32 - 1
"""The largest seed that numpy's ``RandomState`` takes."""


@dataclass(frozen=True)
class Param:
    """A numeric parameter of a kind of split; an integer if its default is one."""

    default: float
    low: float
    high: float


@dataclass(frozen=True)
class Kind:
    """A kind of split: its rule, variants (the first is the default), usual task, parameters and lowest seed.

    A kind that holds nothing out is of no use for a benchmark, and has no usual task.
    """

    rule: Callable[[Sequence[Labelled], int, str, Mapping[str, float]], Parts]
    variants: tuple[str, ...]
    task: str
    params: Mapping[str, Param] = field(default_factory=dict)
    first_seed: int = 0
    holds_out: bool = True


KINDS: Mapping[str, Kind] = MappingProxyType({
    "double": Kind(rules.double, ("norman_from_scfoundation", "norman"), "double"),
    "simulation": Kind(
        rules.simulation, ("gears-0.1.2",), "single",
        # Defaults of `prepare_split` in GEARS 0.1.2.
        {"train_gene_set_size": Param(0.75, 0.0, 1.0), "combo_seen2_train_frac": Param(0.75, 0.0, 1.0)},
    ),
    "unseen": Kind(rules.unseen, ("singles", "with-doubles"), "single", {"folds": Param(5, 2, 10_000)}, 1),
    "all": Kind(rules.everything, (), "", holds_out=False),
})  # fmt: skip


def make_split(
    labels: Sequence[Labelled],
    *,
    kind: str,
    seed: int,
    variant: str | None = None,
    dataset: str = "",
    params: Mapping[str, Any] | None = None,
) -> Split:
    """Make a split by the rule of its kind.

    Parameters
    ----------
    labels
        All perturbations of the dataset with the control, in order of first appearance.
    kind
        One of `KINDS`.
    seed
        From 0 (for `unseen` from 1) to 2**32 - 1.
    variant
        Variant of the kind; by default its first.
    dataset
        Name of the dataset; not part of the hash.
    params
        Parameters of the kind that differ from their defaults.

    Raises
    ------
    SplitError
        If the kind, the variant, a parameter or the seed is unknown or out of range, or if the labels do not allow it.
    """
    for _, problem in split_problems(kind, variant, params or {}):
        raise SplitError(problem)
    chosen = KINDS[kind]
    if isinstance(seed, bool) or not isinstance(seed, int) or not chosen.first_seed <= seed <= MAX_SEED:
        raise SplitError(
            f"seed {seed!r} of split kind {kind!r} is out of range; "
            f"expected a whole number from {chosen.first_seed} to {MAX_SEED}"
        )
    check_labels(labels)
    effective = {name: param.default for name, param in chosen.params.items()} | dict(params or {})
    effective_variant = next(iter(chosen.variants), "") if variant is None else variant
    parts = chosen.rule(labels, seed, effective_variant, effective)
    return build_split(
        labels, parts, holds_out=chosen.holds_out, dataset=dataset, kind=kind, variant=effective_variant, seed=seed,
        params=effective,
    )  # fmt: skip


def split_problems(kind: str, variant: str | None, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each problem of a choice of split: the key at fault, and a message."""
    chosen = KINDS.get(kind)
    if chosen is None:
        yield "kind", f"no split kind {kind!r}; {expected(kind, KINDS)}"
        return
    if variant is not None and variant not in chosen.variants:
        yield "variant", f"split kind {kind!r} has no variant {variant!r}; {expected(variant, chosen.variants)}"
    for name, value in params.items():
        param = chosen.params.get(name)
        if param is None:
            yield name, f"split kind {kind!r} has no parameter {name!r}; {expected(name, chosen.params)}"
            continue
        number_kind = "a whole number" if isinstance(param.default, int) else "a number"
        types = int if isinstance(param.default, int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, types) or not param.low <= value <= param.high:
            yield name, f"{name} = {value!r}: expected {number_kind} from {param.low} to {param.high}"
