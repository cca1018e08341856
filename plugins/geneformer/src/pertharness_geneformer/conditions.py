"""The embedding of a condition: the mean vector of control cells that are perturbed in silico."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pertharness import CONTROL, targets_of

from pertharness_geneformer.dictionaries import Dictionaries
from pertharness_geneformer.genes import UNKNOWN, Genes
from pertharness_geneformer.network import Embedder
from pertharness_geneformer.perturbing import FROM_THE_END, Mode, TooShort, delete, overexpress
from pertharness_geneformer.settings import Choices


@dataclass(frozen=True)
class Targets:
    """The tokens of targets.

    Attributes
    ----------
    tokens
        By the names that targets may have in labels.
    any_case
        Whether a name that is not there is looked for in upper case.
    """

    tokens: Mapping[str, int]
    any_case: bool

    @classmethod
    def known(cls, dictionaries: Dictionaries, genes: Genes, choices: Choices) -> Targets:
        """Return all targets that the dictionaries have and, where names are not as published, those of the data."""
        rows = dictionaries.tokens
        tokens = {name: rows[known] for name, known in dictionaries.mapping.items() if known in rows}
        if choices.symbols == "any_key":
            is_known = np.flatnonzero(genes.of_column != UNKNOWN)
            tokens |= {genes.names[column]: int(genes.tokens[genes.of_column[column]]) for column in is_known}
        return cls(tokens, any_case=choices.symbols == "any_key")

    def token(self, target: str) -> int | None:
        """Return the token of a target; None if it has none."""
        token = self.tokens.get(target)
        return self.tokens.get(target.upper()) if token is None and self.any_case else token

    def why_not(self, label: str) -> str:
        """Return why a perturbation cannot be made; empty if it can."""
        absent = [target for target in targets_of(label) if self.token(target) is None]
        if not absent:
            return ""
        verb = "have" if len(absent) > 1 else "has"
        return f"{' and '.join(absent)} {verb} no token in Geneformer's dictionaries"

    def of(self, label: str) -> list[int]:
        """Return the tokens of a perturbation's targets, in the order of its label."""
        return [token for target in targets_of(label) if (token := self.token(target)) is not None]


@dataclass(frozen=True)
class Pool:
    """Control cells that perturbations are made in, and how.

    Attributes
    ----------
    cells
        Tokens of each, longest first.
    longest
        Tokens of a cell at most.
    """

    cells: Sequence[np.ndarray]
    embedder: Embedder
    targets: Targets
    mode: Mode
    choices: Choices
    longest: int

    def embed(self, labels: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Return label -> vector, float64, shape (width,), and of those that have none, label -> reason."""
        vectors: dict[str, np.ndarray] = {}
        reasons: dict[str, str] = {}
        for label in labels:
            if label == CONTROL:
                vectors[label] = self._control()
            elif reason := self.targets.why_not(label):
                reasons[label] = reason
            else:
                perturbed, reason = self.perturb(label)
                if reason:
                    reasons[label] = reason
                else:
                    vectors[label] = self.embedder.mean(perturbed)
        return vectors, reasons

    def edits_note(self, labels: Iterable[str]) -> list[str]:
        """Return a line for the record on answers that rest on edits of other genes than the targets, if there are any.

        Parameters
        ----------
        labels
            Those that have a vector.
        """
        if self.mode != "delete" or self.choices.absent_target == "skip_cell":
            return []
        present = set(np.concatenate(self.cells).tolist())
        without = [label for label in labels if label != CONTROL and present.isdisjoint(self.targets.of(label))]
        if not without:
            return []
        instead = (
            "none is deleted"
            if self.choices.absent_target == "no_op"
            else (f"the token at place {FROM_THE_END} from the end is deleted, as published")
        )
        return [
            f"{len(without)} perturbations (first: {without[0]!r}) have targets that no control cell expresses: "
            f"{instead}"
        ]

    def _control(self) -> np.ndarray:
        """Return the embedding of the control; published are zeros."""
        if self.choices.control_embedding == "own":
            return self.embedder.mean(self.cells)
        return np.zeros(self.embedder.network.config.hidden_size)

    def perturb(self, label: str) -> tuple[list[np.ndarray], str]:
        """Return the cells with a perturbation, or none and why not."""
        targets = self.targets.of(label)
        if self.mode == "overexpress":
            return [overexpress(cell, targets, self.longest) for cell in self.cells], ""
        absent = self.choices.absent_target
        try:
            perturbed = [delete(cell, targets, absent) for cell in self.cells]
        except TooShort:
            short = sum(len(cell) < FROM_THE_END for cell in self.cells)
            return [], (
                f"a control cell does not express {' or '.join(targets_of(label))}, and has fewer than {FROM_THE_END} "
                f"tokens, as {short} of the {len(self.cells)} have: the published code stops there with an error; "
                "absent_target=skip_cell leaves such cells out"
            )
        kept = [cell for cell in perturbed if cell is not None]
        if not kept:
            return [], f"none of the {len(self.cells)} control cells expresses {' or '.join(targets_of(label))}"
        return kept, ""
