"""A fine-tuned network and what it predicts with, in memory and as files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pertharness_foundation.decoder import Conditions
from pertharness_foundation.device import choose_precision, open_device
from pertharness_foundation.saved import load_weights, save_weights

from pertharness_geneformer.conditions import Pool, Targets
from pertharness_geneformer.genes import Genes
from pertharness_geneformer.network import Embedder, make_classifier
from pertharness_geneformer.perturbing import Mode
from pertharness_geneformer.selection import draw_pool, longest_first
from pertharness_geneformer.settings import Settings
from pertharness_geneformer.tokens import Vocabulary, tokenise
from pertharness_geneformer.weights import Sizes

_NETWORK = "network."


@dataclass(frozen=True)
class Fitted:
    """A fine-tuned network.

    Attributes
    ----------
    mode
        What is done to targets.
    conditions
        Of training, with their embeddings.
    seed
        Of the draws that are not those of the decoder.
    notes
        Lines for the record.
    """

    network: Any
    sizes: Sizes
    genes: Genes
    targets: Targets
    vocabulary: Vocabulary
    mode: Mode
    conditions: Conditions
    settings: Settings
    seed: int
    notes: tuple[str, ...]

    def pool_of(self, controls: Any, device: str) -> Pool:
        """Return the pool of control cells.

        Parameters
        ----------
        controls
            CSR, log1p CP10k, shape (n_controls, n_genes), none without a gene that has a token.
        """
        options, place = self.settings.cells, open_device(device)
        rows = draw_pool(controls.shape[0], options.pool_size, self.seed)
        cells = tokenise(controls[rows], self.genes, self.vocabulary)
        order = longest_first(np.array([len(cell) for cell in cells]))
        embedder = Embedder(
            self.network.to(place).eval(), self.vocabulary.padding, place,
            choose_precision(place, options.precision, proven=False), options.layer, options.pooling,
            options.forward_batch_size,
        )  # fmt: skip
        return Pool(
            [cells[row] for row in order], embedder, self.targets, self.mode, self.settings.choices(),
            self.vocabulary.longest,
        )  # fmt: skip


def save_fitted(fitted: Fitted, folder: Path) -> None:
    """Write a fitted model: its tensors as safetensors, the rest as JSON; the published files are not needed again."""
    genes = fitted.genes
    facts = {
        "sizes": asdict(fitted.sizes), "n_classes": fitted.network.config.num_labels, "mode": fitted.mode,
        "settings": fitted.settings.model_dump(), "seed": fitted.seed, "notes": list(fitted.notes),
        "vocabulary": asdict(fitted.vocabulary), "targets": asdict(fitted.targets),
        "conditions": fitted.conditions.facts(),
        "genes": {
            "names": list(genes.names), "of_column": genes.of_column.tolist(), "ids": list(genes.ids),
            "tokens": genes.tokens.tolist(), "medians": genes.medians.tolist(), "note": genes.note,
        },
    }  # fmt: skip
    tensors = {f"{_NETWORK}{key}": value for key, value in fitted.network.state_dict().items()}
    save_weights(folder, tensors | fitted.conditions.tensors(), facts)


def load_fitted(folder: Path, device: str) -> Fitted:
    """Return the model that `save_fitted` wrote."""
    tensors, facts = load_weights(folder)
    sizes = Sizes(**facts["sizes"])
    with torch.random.fork_rng(devices=[]):
        network = make_classifier(sizes, facts["n_classes"])
    network.load_state_dict(
        {key.removeprefix(_NETWORK): value for key, value in tensors.items() if key.startswith(_NETWORK)}
    )
    return Fitted(
        network.to(open_device(device)).eval(), sizes, _genes(facts["genes"]), Targets(**facts["targets"]),
        Vocabulary(**facts["vocabulary"]), facts["mode"], Conditions.of_saved(tensors, facts["conditions"]),
        Settings.model_validate(facts["settings"]), facts["seed"], tuple(facts["notes"]),
    )  # fmt: skip


def _genes(facts: dict[str, Any]) -> Genes:
    genes = Genes(**facts)
    return replace(
        genes, names=tuple(genes.names), ids=tuple(genes.ids), of_column=np.array(genes.of_column, dtype=np.int64),
        tokens=np.array(genes.tokens, dtype=np.int64), medians=np.array(genes.medians, dtype=np.float64),
    )  # fmt: skip
