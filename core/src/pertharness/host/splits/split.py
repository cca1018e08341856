"""The split model, and the checks that every split passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pertharness.contract.errors import SplitError
from pertharness.contract.labels import CONTROL, targets_of
from pertharness.files.whole import canonical_json, sha256_text

FORMAT: Literal[1] = 1
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Labelled:
    """A perturbation of a dataset, with its canonical label and its label in the data."""

    perturbation: str
    label_given: str
    of_genes: str = ""
    """Genes of its targets, joined by ``+``, where targets are guides; empty where targets are genes."""

    @property
    def genes(self) -> tuple[str, ...]:
        """Distinct genes of the targets, sorted; none for the control."""
        return targets_of(self.of_genes or self.perturbation)


@dataclass(frozen=True)
class Parts:
    """The parts that a rule makes, as canonical labels in the rule's order, and the reasons of dropped labels."""

    train: list[str]
    val: list[str]
    test: list[str]
    dropped: dict[str, str] = field(default_factory=dict)
    subgroups: dict[str, list[str]] = field(default_factory=dict)


class Split(BaseModel):
    """A split in the form of its JSON file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = FORMAT
    dataset: str = ""
    kind: str
    variant: str = ""
    seed: int = 0
    params: dict[str, Any] = {}
    """Parameters of the kind, with those at their defaults."""
    train: list[str]
    """Canonical labels, `control` among them."""
    val: list[str]
    test: list[str]
    dropped: dict[str, str] = {}
    """Perturbation in no part -> reason."""
    subgroups: dict[str, list[str]] = {}
    """Group of the rule, e.g. ``test/combo_seen0``, -> its perturbations; empty groups are left out."""
    labels_given: dict[str, str] = {}
    """Perturbation -> label in the data, where they differ."""
    hash: str
    """sha256 of all other fields except the dataset's name."""


def split_hash(fields: Mapping[str, Any]) -> str:
    """Return the sha256 of a split's canonical JSON, without its hash and the dataset's name."""
    return sha256_text(canonical_json({key: fields[key] for key in fields if key not in ("hash", "dataset")}))


def check_labels(labels: Sequence[Labelled]) -> None:
    """Check that a split can be made from labels.

    Raises
    ------
    SplitError
        If a perturbation or a label of the data is repeated, or if the control is missing.
    """
    for noun, names in (("perturbation", [x.perturbation for x in labels]), ("label", [x.label_given for x in labels])):
        if twice := repeated(names):
            raise SplitError(f"duplicate {noun} {twice[0]!r}; expected each once")
    if CONTROL not in {x.perturbation for x in labels}:
        raise SplitError(f"no {CONTROL!r} among the {len(labels)} perturbations; a split needs control cells")


def build_split(
    labels: Sequence[Labelled], parts: Parts, *, holds_out: bool = True, **described: Any
) -> Split:  # fmt: skip
    """Check parts, and return their split with its hash.

    Parameters
    ----------
    labels
        All perturbations of the dataset.
    parts
        Parts that the rule made.
    holds_out
        Whether test must have a perturbation.
    described
        `dataset`, `kind`, `variant`, `seed` and `params` of the split.

    Raises
    ------
    SplitError
        If a perturbation is in two parts, twice in one, in none without a reason, or not in the data; if guides of a
        gene are in two parts; if the control is not in train; or if test is empty although the split holds out.
    """
    _check_parts({x.perturbation for x in labels}, parts, holds_out=holds_out)
    _check_guides(labels, parts)
    fields: dict[str, Any] = {
        "format": FORMAT, "dataset": "", "variant": "", "seed": 0, "params": {}, **described,
        "train": parts.train, "val": parts.val, "test": parts.test, "dropped": parts.dropped,
        "subgroups": {name: group for name, group in parts.subgroups.items() if group},
        "labels_given": {x.perturbation: x.label_given for x in labels if x.label_given != x.perturbation},
    }  # fmt: skip
    return Split(**fields, hash=split_hash(fields))


def _check_parts(perturbations: set[str], parts: Parts, *, holds_out: bool) -> None:
    """Check that parts are a split of the perturbations."""
    part_of: dict[str, str] = {}
    for part, names in ((part, getattr(parts, part)) for part in PARTS):
        if twice := repeated(names):
            raise SplitError(f"duplicate {twice[0]!r} in {part}; expected each perturbation once")
        for name in names:
            if name not in perturbations:
                raise SplitError(f"{name!r} of {part} is not in the data")
            if name in part_of:
                raise SplitError(
                    f"{name!r} is in {part_of[name]} and in {part}; expected each perturbation in one part"
                )
            part_of[name] = part
    if part_of.get(CONTROL) != "train":
        raise SplitError(f"{CONTROL!r} is in {part_of.get(CONTROL, 'no part')}; control cells belong to train")
    if holds_out and not parts.test:
        raise SplitError("no perturbation is left for test; a split needs at least one")
    if both := sorted(part_of.keys() & parts.dropped.keys()):
        raise SplitError(f"{both[0]!r} is in {part_of[both[0]]} and dropped at once")
    if lost := sorted(perturbations - part_of.keys() - parts.dropped.keys()):
        raise SplitError(f"{lost[0]!r} is in no part and is not dropped with a reason")


def _check_guides(labels: Sequence[Labelled], parts: Parts) -> None:
    """Check that all guides of the same genes are in one part."""
    unit_of = {x.perturbation: x.genes for x in labels} if any(x.of_genes for x in labels) else {}
    first_use: dict[tuple[str, ...], tuple[str, str]] = {}
    for part in PARTS:
        for name in getattr(parts, part):
            if name not in unit_of:
                continue
            other, first = first_use.setdefault(unit_of[name], (part, name))
            if other != part:
                raise SplitError(
                    f"{first!r} is in {other} and {name!r} in {part}: both are guides of {'+'.join(unit_of[name])!r}; "
                    "expected all guides of a gene in one part, or --guides together"
                )


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, in order of first appearance."""
    return [name for name, count in Counter(names).items() if count > 1]
