"""The rules that draw the parts of a split from labels.

All draws use numpy's legacy ``RandomState``. It defines the published splits, and its stream is frozen, unlike that of
``default_rng``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pertharness.contract.errors import SplitError
from pertharness.contract.labels import CONTROL, SEPARATOR
from pertharness.host.splits.split import Labelled, Parts

if TYPE_CHECKING:
    from numpy.random import RandomState

SECOND_PASS = 0.9
"""Share of genes, and of doubles, that GEARS 0.1.2 keeps in train when it separates val from train."""
VAL_SHARE = 0.1
"""Share of the remaining singles that `unseen` holds out for val."""


def double(labels: Sequence[Labelled], seed: int, variant: str, params: Mapping[str, float]) -> Parts:
    """Train on all singles and a random half of the doubles; halve the other doubles into test and val.

    The rules of doi 10.1038/s41592-025-02772-6, applied to the labels of the data, sorted. Variant ``norman``: the
    first half of the remaining doubles is test. Variant ``norman_from_scfoundation``: a second draw from the same
    stream is test.
    """
    ordered = sorted(labels, key=lambda x: x.label_given)
    units = _by_genes(x for x in ordered if len(x.genes) == 2)
    doubles = list(units)
    if len(doubles) < 4:
        raise SplitError(
            f"doubles among the perturbations: {len(doubles)}; a split of kind 'double' needs at least 4, "
            "two for train and one each for test and val; try kind 'unseen'"
        )
    rng = _generator(seed)
    drawn = _draw(rng, doubles, len(doubles) // 2)
    rest = _without(doubles, drawn)
    half = len(rest) // 2
    test = rest[:half] if variant == "norman" else _draw(rng, rest, half)
    return Parts(
        train=[x.perturbation for x in ordered if len(x.genes) < 2] + _members(units, drawn),
        val=_members(units, _without(rest, test)), test=_members(units, test), dropped=_larger(labels),
    )  # fmt: skip


def simulation(labels: Sequence[Labelled], seed: int, variant: str, params: Mapping[str, float]) -> Parts:
    """Hold out genes with their singles and doubles: the 'simulation' split of GEARS 0.1.2.

    doi 10.1038/s41587-023-01905-6. Two passes: all perturbations into train and test, then train into train and val.
    Membership does not depend on the order of the labels; the lists are in that order.
    """
    usable = [x for x in labels if 1 <= len(x.genes) <= 2]
    first, test = _hold_out_genes(usable, params["train_gene_set_size"], params["combo_seen2_train_frac"], seed)
    train, val = _hold_out_genes(first, SECOND_PASS, SECOND_PASS, seed)
    groups = {
        f"{part}/{name}": names for part, held_out in (("test", test), ("val", val)) for name, names in held_out.items()
    }
    part_of = {x.perturbation: "train" for x in train} | {CONTROL: "train"}
    part_of |= {name: group.split("/")[0] for group, names in groups.items() for name in names}
    order = [x.perturbation for x in labels if x.perturbation in part_of]
    lists = {part: [name for name in order if part_of[name] == part] for part in ("train", "val", "test")}
    return Parts(lists["train"], lists["val"], lists["test"], dropped=_larger(labels), subgroups=groups)


def unseen(labels: Sequence[Labelled], seed: int, variant: str, params: Mapping[str, float]) -> Parts:
    """Hold out one of k folds of the singles; seeds 1 to k cover every single once, the next k with a new shuffle.

    The lists are sorted, so that the split does not depend on the order of the labels.
    """
    folds = int(params["folds"])
    units = _by_genes(sorted((x for x in labels if len(x.genes) == 1), key=lambda x: x.perturbation))
    singles = sorted(units)
    fewest = folds if folds > 2 else 4
    if len(singles) < fewest:
        raise SplitError(
            f"singles among the perturbations: {len(singles)}, too few for {folds} folds of a split of kind 'unseen': "
            f"expected at least {fewest}; set folds lower or hold out perturbations with a split file"
        )
    rng = _generator((seed - 1) // folds)
    shuffled = _draw(rng, singles, len(singles))
    test = shuffled[(seed - 1) % folds :: folds]
    rest = _without(shuffled, test)
    val = _draw(rng, rest, max(1, int(len(rest) * VAL_SHARE)))
    train = _without(rest, val)
    multiple = sorted((x for x in labels if len(x.genes) > 1), key=lambda x: x.perturbation)
    reason = "more than one target: variant 'singles' uses single perturbations only"
    dropped = dict.fromkeys((x.perturbation for x in multiple), reason)
    if variant == "with-doubles":
        dropped = _revealing(multiple, {*train}, {*val, *test})
    joined = [x.perturbation for x in multiple if x.perturbation not in dropped]
    train, val, test = (_members(units, names) for names in (train, val, test))
    return Parts(train=[CONTROL, *sorted(train), *joined], val=sorted(val), test=sorted(test), dropped=dropped)


def everything(labels: Sequence[Labelled], seed: int, variant: str, params: Mapping[str, float]) -> Parts:
    """Train on all perturbations, sorted; the seed changes nothing."""
    perturbed = sorted(x.perturbation for x in labels if x.perturbation != CONTROL)
    return Parts(train=[CONTROL, *perturbed], val=[], test=[])


def _hold_out_genes(
    labels: Sequence[Labelled], gene_share: float, pair_share: float, seed: int
) -> tuple[list[Labelled], dict[str, list[str]]]:
    """Do one pass of the GEARS procedure: return the labels that stay in train, and those held out, by group."""
    genes = sorted({gene for x in labels for gene in x.genes})
    seen = set(_draw(_generator(seed), genes, int(len(genes) * gene_share)))
    groups: dict[str, list[str]] = {"combo_seen0": [], "combo_seen1": [], "combo_seen2": [], "unseen_single": []}
    train, pairs = [], []
    for x in labels:
        n_seen = sum(gene in seen for gene in x.genes)
        if len(x.genes) == 1 and n_seen:
            train.append(x)
        elif len(x.genes) == 1:
            groups["unseen_single"].append(x.perturbation)
        elif n_seen == 2:
            pairs.append(x)
        else:
            groups[f"combo_seen{n_seen}"].append(x.perturbation)
    # GEARS sorts the labels of the data and resets the seed before it draws among the doubles.
    of_name = {x.perturbation: x for x in pairs}
    units = _by_genes(sorted(pairs, key=lambda x: x.label_given))
    drawn = _draw(_generator(seed), list(units), int(len(units) * pair_share))
    groups["combo_seen2"] = _members(units, _without(list(units), drawn))
    return train + [of_name[name] for name in _members(units, drawn)], groups


def _generator(seed: int) -> RandomState:
    """Return numpy's legacy generator."""
    from numpy.random import RandomState

    return RandomState(seed)


def _draw(rng: RandomState, names: Sequence[str], count: int) -> list[str]:
    """Draw names without replacement, in drawing order: the same as ``rng.choice(names, count, replace=False)``."""
    return [names[i] for i in rng.choice(len(names), count, replace=False)]


def _by_genes(labels: Iterable[Labelled]) -> dict[str, list[str]]:
    """Return perturbations by their joined genes, the units that are drawn; several guides may share a unit.

    Without guides, each unit is one perturbation, in the same order.
    """
    units: dict[str, list[str]] = {}
    for x in labels:
        units.setdefault(SEPARATOR.join(x.genes), []).append(x.perturbation)
    return units


def _members(units: Mapping[str, Sequence[str]], drawn: Iterable[str]) -> list[str]:
    """Return the perturbations of the drawn units."""
    return [name for unit in drawn for name in units[unit]]


def _without(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Return the names that are not taken, in their order."""
    excluded = set(taken)
    return [name for name in names if name not in excluded]


def _larger(labels: Sequence[Labelled]) -> dict[str, str]:
    """Return perturbations of three and more targets, with the reason why they are in no part."""
    reason = "{} targets: the rule knows singles and doubles only"
    return {x.perturbation: reason.format(len(x.genes)) for x in labels if len(x.genes) > 2}


def _revealing(multiple: Sequence[Labelled], train: set[str], held_out: set[str]) -> dict[str, str]:
    """Return perturbations of several targets that may not join train, each with its reason.

    All of their genes must be those of training singles.
    """
    dropped = {}
    for x in multiple:
        outside = [gene for gene in x.genes if gene not in train]
        if revealed := [gene for gene in outside if gene in held_out]:
            dropped[x.perturbation] = f"it would show the held-out target {revealed[0]!r}"
        elif outside:
            dropped[x.perturbation] = f"its target {outside[0]!r} is not among the training singles"
    return dropped
