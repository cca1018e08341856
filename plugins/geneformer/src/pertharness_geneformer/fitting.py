"""From the arguments of the hook ``fit`` to a fine-tuned network with the embeddings of the training conditions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pertharness import CONTROL, Skip
from pertharness_foundation.counts import check_log_values
from pertharness_foundation.decoder import Conditions
from pertharness_foundation.device import choose_precision, open_device
from pertharness_foundation.log import log_line
from scipy import sparse

from pertharness_geneformer.conditions import Targets
from pertharness_geneformer.fitted import Fitted
from pertharness_geneformer.genes import UNKNOWN, Genes, match_genes
from pertharness_geneformer.network import make_classifier
from pertharness_geneformer.perturbing import mode_of
from pertharness_geneformer.selection import choose_cells
from pertharness_geneformer.settings import Settings
from pertharness_geneformer.tokens import Vocabulary, tokenise
from pertharness_geneformer.training import Classifier, Labelled
from pertharness_geneformer.weights import Published

if TYPE_CHECKING:
    from anndata import AnnData

PUBLISHED_SEED = 42
"""Of all that the published code draws: orders, samples, parts, the pool, and the training. It is that of the training
seed 1; other training seeds follow it."""


@dataclass(frozen=True)
class Cells:
    """Cells with at least one gene that has a token: ``expression`` CSR, log1p CP10k, with their ``labels``."""

    expression: Any
    labels: np.ndarray

    def controls(self) -> Any:
        """Return the expression of the controls."""
        return self.expression[np.flatnonzero(self.labels == CONTROL)]


def read_cells(adata: AnnData, genes: Genes, notes: list[str], what: str = "training") -> Cells:
    """Return the cells that have a gene with a token.

    Parameters
    ----------
    notes
        Gets a line if cells are left out.
    what
        Which cells these are, for that line.

    Raises
    ------
    DataError
        If values are no log1p of counts per 10 000.
    """
    expression = sparse.csr_matrix(adata.X)
    check_log_values(expression)
    labels = adata.obs["perturbation"].astype(str).to_numpy(dtype=object)
    is_known = (genes.of_column != UNKNOWN).astype(np.float32)
    filled = np.asarray((expression > 0) @ is_known).ravel() > 0
    if not filled.all():
        notes.append(f"{int((~filled).sum())} of {len(filled)} {what} cells have no gene with a token and are left out")
        expression, labels = expression[filled], labels[filled]
    return Cells(expression, labels)


def fit_geneformer(
    train: AnnData, modality: str | None, published: Published, settings: Settings, device: str, seed: int,
    workdir: Path,
) -> Fitted:  # fmt: skip
    """Fine-tune the network on the cells of `train`, and embed their conditions.

    Parameters
    ----------
    modality
        Of the dataset: ``crispra``, ``crispri``, ``ko`` or None.

    Raises
    ------
    Skip
        If the modality is not known, or there is nothing to train on.
    DataError
        If the data are not what they have to be.
    """
    choices, place = settings.choices(), open_device(device)
    mode = mode_of(modality, settings.cells.perturbation)
    known, sizes = published.dictionaries, published.sizes
    genes = match_genes(list(map(str, train.var_names)), train.var.get("ensembl_id"), known, choices.symbols)
    notes = [genes.note, f"targets: {mode}"]
    cells = read_cells(train, genes, notes)
    refuse_too_few(cells)
    own_seed = PUBLISHED_SEED - 1 + seed
    vocabulary = Vocabulary.of(known.tokens, sizes.max_position_embeddings)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(own_seed)
        network = make_classifier(sizes, len(set(cells.labels)))
        notes.append(published.load_into(network).note())
        network = network.to(place)
        notes.append(_train(network, cells, genes, vocabulary, settings, place, own_seed, workdir))
    targets = Targets.known(known, genes, choices)
    fitted = Fitted(
        network.eval(), sizes, genes, targets, vocabulary, mode, Conditions((), np.empty((0, 0)), {}), settings,
        own_seed, (),
    )  # fmt: skip
    vectors, reasons = fitted.pool_of(cells.controls(), device).embed(sorted(set(cells.labels)))
    if reasons:
        first, reason = next(iter(reasons.items()))
        notes.append(f"{len(reasons)} training perturbations have no embedding (first: {first!r}: {reason})")
    return replace(fitted, conditions=Conditions.of(train, vectors), notes=tuple(notes))


def refuse_too_few(cells: Cells) -> None:
    """Raise Skip if there are no control cells, or no perturbed ones."""
    is_control = cells.labels == CONTROL
    if not is_control.any():
        raise Skip("Geneformer perturbs control cells, and there are none with a known gene in the training data")
    if is_control.all():
        raise Skip("Geneformer learns to tell conditions apart, and the training data have controls alone")


def _train(
    network: Any, cells: Cells, genes: Genes, vocabulary: Vocabulary, settings: Settings, device: torch.device,
    seed: int, workdir: Path,
) -> str:  # fmt: skip
    """Train the classifier, leave the best weights in it, and return a line for the record."""
    conditions = sorted(set(cells.labels))
    parts = choose_cells(cells.labels, settings.training.cells_per_class, seed)
    classes = np.searchsorted(np.array(conditions, dtype=str), cells.labels.astype(str))

    def labelled(rows: np.ndarray) -> Labelled:
        return Labelled(tokenise(cells.expression[rows], genes, vocabulary), classes[rows].astype(np.int64))

    training, evaluation = labelled(parts.training), labelled(parts.evaluation)
    log_line(f"{len(training.cells)} cells to train on and {len(evaluation.cells)} to choose the epoch by")
    precision = choose_precision(device, settings.cells.precision, proven=False)
    classifier = Classifier(
        network, training, evaluation, settings.training, vocabulary.padding, device, precision, seed
    )
    line = classifier.train(workdir, identity=settings.model_dump_json())
    return f"classifier of {len(conditions)} conditions, {len(training.cells)} cells, {precision}: {line}"
