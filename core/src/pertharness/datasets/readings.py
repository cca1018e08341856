"""Read the labels of perturbations: their parts, the genes of guides, and the names of these genes in the file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pertharness.contract.errors import DataError
from pertharness.contract.labels import CONTROL, SEPARATOR, join_targets
from pertharness.data.label_map import clean_text
from pertharness.datasets.controls import is_no_perturbation
from pertharness.datasets.doses import drug_of, drugs_of
from pertharness.datasets.guides import (
    Affixes,
    find_affixes,
    find_shapes,
    find_stems,
    find_syntactic_shapes,
    is_guide,
    part_guides,
    without_strand,
)
from pertharness.datasets.label_kinds import NO_PERTURBATION, LabelKinds
from pertharness.datasets.options import NONE, FileOptions
from pertharness.datasets.separators import (
    RARE_SEPARATORS,
    SEPARATORS,
    find_separator,
    parts_of,
    quote,
    unknown_parts,
)  # fmt: skip
from pertharness.datasets.targets import WITHOUT_CASE, Match, are_ids, describe_match, key_of_name, match_names

PLUS_IN_NAMES = "&"
"""Replaces a ``+`` inside a name, because ``+`` joins targets in the canonical form."""


@dataclass
class Reading:
    """The meaning of the labels of a column; see `pertharness.datasets.labelling.Labelling` for the fields."""

    separator: str | None
    mapping: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    genes: dict[str, str] = field(default_factory=dict)
    gene_column: str | None = None
    guides: set[str] = field(default_factory=set)
    """Labels that name guides; a gene may have several."""
    notes: list[str] = field(default_factory=list)


class KnownNames:
    """All names of genes in a file; Ensembl ids without version."""

    def __init__(self, genes: Collection[str], columns: Mapping[str, Mapping[str, str]], labels: Sequence[str]) -> None:
        numbers = sum(re.fullmatch(r"[\d\s+_|;,&.]+", label) is not None for label in labels) * 2 > len(labels)
        names = {*genes}
        for column, table in columns.items():
            if column != WITHOUT_CASE:
                names.update(name for name in table if numbers or not name.isdigit())
        if not numbers:  # the names of numbered genes, which would match the 1 of KLF1_1
            names = {name for name in names if not name.isdigit()}
        words = {word for label in labels for word in re.findall(r"[A-Za-z0-9.-]+", label)}
        self.any_case = {**columns.get(WITHOUT_CASE, {})} if not words & names else {}
        self.names = names

    def __contains__(self, name: object) -> bool:
        """Return whether a text is one of the names."""
        text = str(name)
        return text in self.names or key_of_name(text) in self.names or text.upper() in self.any_case


def read_labels(
    kinds: LabelKinds, genes: Collection[str], columns: Mapping[str, Mapping[str, str]], options: FileOptions
) -> Reading:
    """Read the labels of perturbations.

    Parameters
    ----------
    kinds
        Sorted labels of a column.
    genes
        Genes of the dataset.
    columns
        Other names of the genes, from `pertharness.datasets.targets.names_by_column`.
    options
        The user's options, of which ``separator`` and ``guides`` are used.

    Raises
    ------
    DataError
        If the separator or the genes are unclear; the message names the flag to use.
    """
    texts = {label: without_strand(clean_text(label)) for label in kinds.perturbations}
    known_names = KnownNames(genes, columns, list(texts.values()))
    affixes = Affixes() if options.guides == NONE else find_affixes(texts.values(), known_names)
    bare = {label: affixes.bare(text) for label, text in texts.items()}
    if options.guides != NONE and options.separator is None:
        bare = {
            label: part_guides(text, lambda x: x in known_names or kinds.is_control(x)) for label, text in bare.items()
        }
    separator = _separator_of(list(bare.values()), kinds, known_names, options)
    reading = Reading(separator, left_out=dict(kinds.left_out), notes=list(kinds.notes))
    parts = _targets_in(bare, separator, kinds, reading)
    names = list(dict.fromkeys(part for of_label in parts.values() for part in of_label))
    guides = _genes_of_guides(names, known_names, affixes, options, reading)
    mapped = {label: meaning.split(SEPARATOR) for label, meaning in kinds.mapped.items()}
    target_names = [guides.named.get(name, name) for name in names] + [
        name for of_label in mapped.values() for name in of_label
    ]
    match = match_names(target_names, set(genes), columns)
    _note_names(match, genes, options, reading)
    for label in kinds.controls:
        reading.mapping[label] = CONTROL
    for label, of_label in mapped.items():
        reading.mapping[label] = join_targets({match.symbols.get(name, name) for name in of_label})
    _join(parts, guides, match, options, reading)
    _note_parts(bare, parts, separator, known_names, guides, kinds, reading)
    return reading


def _separator_of(
    labels: Sequence[str], kinds: LabelKinds, known_names: KnownNames, options: FileOptions
) -> str | None:
    """Return the separator between the targets of labels; None if there is none."""
    of_guides = options.guides != NONE
    singles = {
        label for label in labels if not any(separator in label for separator in (*SEPARATORS, *RARE_SEPARATORS[:2]))
    }
    dosed = {label for label in labels if drug_of(label) is not None} if drugs_of(labels) else set()
    whole = Affixes(shapes=find_shapes(labels, known_names) if of_guides else frozenset())

    def is_known(part: str) -> bool:
        return (
            part in known_names or part in singles or kinds.is_control(part) or is_no_perturbation(part)
            or (of_guides and is_guide(part, known_names))
        ) and part != ""  # fmt: skip

    def is_name(label: str) -> bool:
        return label in known_names or whole.gene_of(label, known_names) is not None or (of_guides and label in dosed)

    return find_separator(labels, is_known, is_name, options.separator)


def _targets_in(
    bare: Mapping[str, str], separator: str | None, kinds: LabelKinds, reading: Reading
) -> dict[str, list[str]]:
    """Return the parts of each label without controls; leave out labels with a part of unknown perturbation."""
    parts: dict[str, list[str]] = {}
    for label, text in bare.items():
        of_label = parts_of(text, separator)
        if len(of_label) > 1:
            of_label = [part for part in of_label if not kinds.is_control(part)]
        if any(part and is_no_perturbation(part) for part in of_label):
            reading.left_out[label] = NO_PERTURBATION
        else:
            parts[label] = of_label
    return parts


@dataclass(frozen=True)
class _Guides:
    """Guides among the parts of labels: `named` has the gene of each; `alike` has the stem of probable guides."""

    named: dict[str, str]
    alike: dict[str, str]


def _genes_of_guides(
    names: Sequence[str], known_names: KnownNames, affixes: Affixes, options: FileOptions, reading: Reading
) -> _Guides:
    """Return the guides among the parts of labels, and add notes on them."""
    if options.guides == NONE:
        return _Guides({}, {})
    if affixes.prefix or affixes.suffix:
        reading.notes.append(
            f"labels: {' and '.join(repr(x) for x in (affixes.prefix, affixes.suffix) if x)} dropped, which is around "
            "nearly all names"
        )
    shapes = find_shapes(names, known_names)
    if options.guides == "together":
        shapes |= find_syntactic_shapes(names, known_names)
    rule = Affixes(shapes=shapes or find_stems(names, known_names))
    named = {name: gene for name in names if (gene := rule.gene_of(name, known_names))}
    stems = {
        name: stem for name in names if name not in named and name not in known_names and (stem := rule.stem_of(name))
    }
    if options.guides == "together":
        named, stems = {**named, **stems}, {}
    shared = Counter([*stems.values(), *named.values()])
    alike = {name: stem for name, stem in stems.items() if shared[stem] > 1}
    treatment = "kept apart, on one side of every split" if options.guides == "separate" else "taken as one target"
    if named:
        first = next(iter(named))
        genes = len(set(named.values()))
        reading.notes.append(
            f"guides: {len(named)} names of guides of {genes} genes, such as {first!r} of {named[first]!r}; guides of "
            f"a gene are {treatment}"
            + ("" if options.guides else " (--guides separate keeps them apart, --guides none takes names as they are)")
        )
    doses = {name: drug for name, drug in drugs_of(names).items() if name not in known_names and name not in named}
    if doses:
        first = next(iter(doses))
        reading.notes.append(
            f"doses: {len(doses)} names are doses or times of {len(set(doses.values()))} targets, such as {first!r} of "
            f"{doses[first]!r}: kept apart, and those of a target on one side of every split (--guides none takes them "
            "for perturbations of their own)"
        )
    if alike:
        first = next(iter(alike))
        reading.notes.append(
            f"guides: {len(alike)} names, such as {first!r}, may be guides of one gene, {alike[first]!r}, which is no "
            "gene of the file: kept apart, on one side of every split (--guides together pools them, --guides none "
            "takes them for perturbations of their own)"
        )
    return _Guides(named, {**alike, **doses})


def _note_names(match: Match, genes: Collection[str], options: FileOptions, reading: Reading) -> None:
    """Add a note on the column in which targets were found, and choose it for gene names if they are ids."""
    if match.column is None:
        return
    is_column = match.column not in ("var_names", WITHOUT_CASE)
    if is_column and options.gene_column is None and are_ids(genes) and not are_ids(match.symbols):
        reading.gene_column = match.column
    reading.notes.append(describe_match(match))


def _join(
    parts: Mapping[str, list[str]], guides: _Guides, match: Match, options: FileOptions, reading: Reading
) -> None:
    """Add the canonical label of each label to `reading`."""
    twice = []
    for label, of_label in parts.items():
        by_gene: dict[str, list[str]] = {}
        for part in of_label:
            name = guides.named.get(part, part)
            gene = match.symbols.get(name, name)
            target = part if options.guides == "separate" and part in guides.named else gene
            by_gene.setdefault(_in_form(guides.alike.get(part, gene)), []).append(_in_form(target))
        targets = [PLUS_IN_NAMES.join(sorted(set(of_gene))) for of_gene in by_gene.values()]
        try:
            perturbation = join_targets(targets)
        except DataError as error:
            raise DataError(
                f"the label {label!r} cannot be read with the separator {reading.separator!r}: {error}; "
                "choose the separator with --separator"
            ) from error
        reading.mapping[label] = perturbation
        if set(targets) != set(by_gene):
            reading.genes[perturbation] = SEPARATOR.join(sorted(by_gene))
        if len(by_gene) < len(of_label):
            twice.append(label)
        if len(by_gene) < len(of_label) or any(part in guides.named for part in of_label):
            reading.guides.add(label)
    replaced = [label for label, of_label in parts.items() if any(SEPARATOR in part for part in of_label)]
    if replaced:
        reading.notes.append(
            f"labels: a {SEPARATOR!r} inside of names is written {PLUS_IN_NAMES!r}: {quote(replaced, 3)}"
        )
    if twice:
        reading.notes.append(f"labels: {len(twice)} name a gene twice, taken once: {quote(twice, 3)}")


def _in_form(name: str) -> str:
    """Return a name in the form allowed in canonical labels."""
    return name.replace(SEPARATOR, PLUS_IN_NAMES)


def _note_parts(
    bare: Mapping[str, str], parts: Mapping[str, list[str]], separator: str | None, known_names: KnownNames,
    guides: _Guides, kinds: LabelKinds, reading: Reading,
) -> None:  # fmt: skip
    """Add a note on parts of joined labels that are not genes, because the separator may belong to their names."""
    joined = [bare[label] for label in parts]
    single = {part for of_label in parts.values() if len(of_label) == 1 for part in of_label}
    unknown = unknown_parts(
        joined,
        separator,
        lambda part: part in known_names or part in single or part in guides.named or kinds.is_control(part),
    )
    if unknown:
        reading.notes.append(
            f"labels: {len(unknown)} parts of labels joined by {separator!r} are neither genes of the file nor "
            f"perturbed alone: {quote(unknown)}; --separator {NONE} if it belongs to the names"
        )
