"""Read the labels of a file of predictions in the same way as those of the dataset."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import DataError
from pertharness.contract.labels import CONTROL, SEPARATOR, join_targets
from pertharness.data.label_map import DROP, clean_text
from pertharness.datasets.controls import is_control, is_control_label, is_control_word, is_no_perturbation
from pertharness.datasets.guides import Affixes, find_affixes, find_shapes, readings
from pertharness.datasets.label_kinds import control_matcher
from pertharness.datasets.options import NONE, FileOptions
from pertharness.datasets.separators import LAST_SEPARATORS, RARE_SEPARATORS, SEPARATORS, parts_of
from pertharness.datasets.targets import key_of_name

if TYPE_CHECKING:
    import pandas as pd

MOST_LABELS = 50_000
"""Most distinct texts that are all read. Of more, such as the names of cells, only exact labels are used."""
READING = ("separator", "label_map", "control_label", "guides", "scale")
"""Parameters of a dataset that control how its labels are read, and whether its scale was declared."""


@dataclass(frozen=True)
class DataLabels:
    """The names of perturbations and genes in the dataset.

    Attributes
    ----------
    spellings
        Label in the dataset's file -> perturbation, if they differ.
    perturbations
        All perturbations of the dataset, in any part of the split.
    genes
        Genes of the dataset.
    ids
        Other name, such as an Ensembl id -> gene.
    options
        The user's options for the dataset's labels.
    """

    spellings: Mapping[str, str]
    perturbations: Collection[str]
    genes: Collection[str]
    ids: Mapping[str, str] = field(default_factory=dict)
    options: FileOptions = field(default_factory=FileOptions)

    @classmethod
    def of(
        cls, spellings: Mapping[str, str], perturbations: Collection[str], genes: Collection[str],
        ids: Mapping[str, str], params: Mapping[str, Any],
    ) -> DataLabels:  # fmt: skip
        """Return the names for a dataset with parameters, of which those in `READING` are used."""
        options = FileOptions(**{name: params[name] for name in READING if params.get(name) is not None})
        return cls(spellings, {*perturbations, *spellings.values()}, genes, ids, options)


class LabelReader:
    """Reads labels with the dataset's spellings, label map, controls, separator and guides."""

    def __init__(self, data: DataLabels) -> None:
        self.data, self.options = data, data.options
        self.perturbations = {*data.perturbations}
        self.spellings = {clean_text(label): meaning for label, meaning in data.spellings.items()}
        self.spellings |= {key_of_name(label): meaning for label, meaning in self.spellings.items()}
        self.singles = {label for label in self.perturbations if SEPARATOR not in label}
        self.targets = {target for label in self.perturbations if label != CONTROL for target in label.split(SEPARATOR)}
        self.cases = unambiguous_cases(self.perturbations)
        self.is_named_control = control_matcher(self.options) or (lambda label: False)
        self.shapes = frozenset[tuple[bool, str]]()
        if self.options.guides not in (NONE, "separate"):
            of_guides = ((label, meaning) for label, meaning in data.spellings.items() if meaning in self.singles)
            self.shapes = frozenset(
                shape for label, meaning in of_guides for shape, rest in readings(clean_text(label)) if rest == meaning
            )
        self.affixes = Affixes()
        self.faults: dict[str, str] = {}
        """Label that cannot be read -> reason."""
        self.last_separators = self._find_last_separators()

    def read_all(self, labels: Collection[str]) -> dict[str, str | None]:
        """Return the meaning of labels: a perturbation (the dataset may lack it), the control, or None."""
        meanings = {label: self.read(label) for label in labels}
        is_known = {*self.perturbations, CONTROL}.__contains__
        unknown = [clean_text(label) for label, meaning in meanings.items() if not is_known(meaning)]
        if not unknown or self.options.guides in (NONE, "separate") or self.shapes or len(unknown) > MOST_LABELS:
            return meanings
        # The dataset's labels have no guides, but those of the file may. They are detected by the same rule.
        other = LabelReader(self.data)
        other.affixes = find_affixes(unknown, self.targets)
        other.shapes = find_shapes(map(other.affixes.bare, unknown), self.targets)
        if not other.shapes and other.affixes == Affixes():
            return meanings
        return {label: meaning if is_known(meaning) else other.read(label) for label, meaning in meanings.items()}

    def read_names(self, obs: pd.DataFrame) -> dict[str, str | None]:
        """Return the meaning of the names of rows; in a file with many rows, only of exact labels."""
        names = [str(name) for name in obs.index]
        if len(names) > MOST_LABELS:
            names = [name for name in names if name in self.perturbations or name in self.spellings]
        return self.read_all(dict.fromkeys(names))

    def read(self, label: str) -> str | None:
        """Return the meaning of one label; None if it is unknown, or cannot be read (see `faults`)."""
        try:
            return self._read(clean_text(label))
        except DataError as error:
            self.faults[label] = str(error)
            return None

    def _read(self, text: str) -> str | None:
        mapped = (self.options.label_map or {}).get(text)
        if mapped is not None and mapped != DROP:
            return CONTROL if mapped == CONTROL else self._join(mapped.split(SEPARATOR)) or mapped
        if mapped == DROP:
            return None
        for spelt in (text, key_of_name(text)):
            if spelt in self.spellings:
                return self.spellings[spelt]
        if text in self.perturbations:
            return text
        if self._is_control(text):
            return CONTROL
        if is_no_perturbation(text):
            return None
        return self._divide(text) or self.cases.get(text.upper()) or self._as_it_stands(text)

    def _is_control(self, text: str) -> bool:
        """Return whether a label means controls; a gene does so only in a plain spelling such as ``CTRL``."""
        if self.is_named_control(text):
            return True
        return is_control_label(text) and (is_control_word(text) or text not in self.data.genes)

    def _divide(self, text: str) -> str | None:
        """Return the perturbation of the dataset whose targets are the parts of a label."""
        separator = self.options.separator
        separators = [SEPARATOR, separator]  # `+` is the harness's own
        if separator is None:
            separators = [*SEPARATORS, *RARE_SEPARATORS, *self.last_separators]
        bare = self.affixes.bare(text)
        meanings = {self._join(parts_of(bare, each)) for each in [None, *(separators if separator != NONE else [])]}
        meanings -= {None}
        if len(meanings) > 1:
            raise DataError(
                f"the label {text!r} may be {' or '.join(repr(each) for each in sorted(map(str, meanings)))}; set "
                "what joins targets with --separator"
            )
        return meanings.pop() if meanings else None

    def _find_last_separators(self) -> list[str]:
        """Return the separators in `LAST_SEPARATORS` that join targets in the dataset's own labels."""
        joint = [(clean_text(label), meaning) for label, meaning in self.data.spellings.items() if SEPARATOR in meaning]
        return [
            separator
            for separator in LAST_SEPARATORS
            if any(separator in label and self._join(parts_of(label, separator)) == meaning for label, meaning in joint)
        ]

    def _join(self, parts: list[str]) -> str | None:
        """Return the perturbation of the dataset with these targets, without controls; None if there is none."""
        if len(parts) > 1:
            parts = [part for part in parts if not (is_control(part) or self.is_named_control(part))]
        targets = [target for part in parts for target in self._targets_of(part)]
        if not all(targets):
            return None
        joined = SEPARATOR.join(sorted(set(targets))) or CONTROL
        if len(set(targets)) < len(targets) and joined not in self.spellings.values():
            return None
        return joined if joined in self.perturbations or joined == CONTROL else None

    def _targets_of(self, part: str) -> list[str]:
        """Return the targets of the dataset that a part of a label means; the part itself if there are none."""
        for name in (part, key_of_name(part)):
            if name in self.targets:
                return [name]
            if name in self.spellings and self.spellings[name] != CONTROL:
                return self.spellings[name].split(SEPARATOR)
            if self.data.ids.get(name) in self.targets:
                return [self.data.ids[name]]
        guides = [rest for shape, rest in readings(part) if shape in self.shapes and rest in self.targets]
        if guides:
            return [max(guides, key=len)]
        return [part]

    def _as_it_stands(self, text: str) -> str | None:
        """Return the canonical label of a perturbation that the dataset lacks; None if the text is not one."""
        if self.options.separator == NONE or SEPARATOR not in text:
            return None
        try:
            return join_targets(part for part in text.split(SEPARATOR) if not self._is_control(part))
        except DataError:  # a target is duplicated or empty, so the label cannot be a query
            return None

    def describe(self, meanings: Mapping[str, str | None], of_query: Collection[str], name: str) -> list[str]:
        """Return a note on labels that are spelt differently from the dataset's."""
        usual = {
            SEPARATOR.join(sorted(part for part in label.split(SEPARATOR) if part not in ("ctrl", CONTROL)))
            for label in meanings
        }
        other = {
            label: meaning
            for label, meaning in meanings.items()
            if meaning in of_query and meaning not in usual and clean_text(label) not in self.spellings
        }
        if not other:
            return []
        label, meaning = next(iter(other.items()))
        return [
            f"{len(other)} labels of {name} are spelt differently from the dataset: {label!r} is read as {meaning!r}"
        ]


def unambiguous_cases(labels: Collection[str]) -> dict[str, str]:
    """Return label in upper case -> label, without labels that differ from another one only by case."""
    cases: dict[str, str] = {}
    unclear = set()
    for label in labels:
        if cases.setdefault(label.upper(), label) != label:
            unclear.add(label.upper())
    return {key: label for key, label in cases.items() if key not in unclear}
