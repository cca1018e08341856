"""From the arguments of the hook ``fit`` to a fitted model: files, cells, the fine-tuned network, embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pertharness_foundation.decoder import Conditions
from pertharness_foundation.device import open_device

from pertharness_scbert.cells import Screen, lay_out_genes, read_screen, tokenise
from pertharness_scbert.drawing import draw_cells
from pertharness_scbert.embedding import embed_condition, n_embedded
from pertharness_scbert.network import ScBert
from pertharness_scbert.pasting import Pool, Source, TrainingCells, draw_controls
from pertharness_scbert.settings import Settings
from pertharness_scbert.training import fit_network
from pertharness_scbert.weights import read_published

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Embedder:
    """What makes the embedding of a condition.

    Attributes
    ----------
    network
        Fine-tuned, in evaluation mode.
    pool
        Control cells that all embeddings are made of.
    """

    network: ScBert
    pool: Pool
    settings: Settings

    def embed(self, label: str, source: Source, seed: int) -> np.ndarray | None:
        """Return the embedding of a condition with listed targets; None: it has no cell to take values from."""
        tokens = self.pool.perturbed(label, source, n_embedded(self.settings), seed)
        return None if tokens is None else embed_condition(self.network, tokens, self.settings)


@dataclass(frozen=True)
class Fitted:
    """A fitted model.

    Attributes
    ----------
    genes
        Genes of the data, in their order.
    conditions
        What the decoder is fitted on.
    notes
        Lines for the record.
    """

    embedder: Embedder
    genes: tuple[str, ...]
    conditions: Conditions
    notes: tuple[str, ...]


def fit_model(
    train: AnnData, files: Mapping[str, Path], settings: Settings, device_name: str, seed: int, workdir: Path
) -> Fitted:
    """Fine-tune the network and embed the training conditions; the files are checked before anything is computed.

    Raises
    ------
    Skip
        If a file is absent, no cell expresses enough genes, or no two conditions have enough cells.
    DataError
        If a file or the data are not what they have to be.
    """
    published = read_published(files, settings.files, any_order=settings.listing.any_order)
    layout = lay_out_genes(train.var_names, published.genes)
    device = open_device(device_name)
    screen = read_screen(train, layout, settings.cells.min_genes)
    controls = draw_controls(screen, settings.cells.control_cells, seed)
    drawn = draw_cells(
        screen.labels, settings.finetuning.most_cells, settings.finetuning.smallest_condition,
        None if settings.choices().finetuning_seed == "fixed" else seed,
    )  # fmt: skip
    network, trained = fit_network(published, screen, drawn, settings, device, seed, workdir)
    position = {gene: number for number, gene in enumerate(published.genes)}
    pool = Pool(tokenise(screen.logs(controls), network.sizes.n_tokens), position, network.sizes.n_tokens)
    embedder = Embedder(network, pool, settings)
    embeddings, lost = _embed_training(embedder, screen, seed, train.obs["perturbation"].astype(str))
    notes = (published.note, layout.note(), *_left_out(screen, settings), *trained, *lost)
    return Fitted(embedder, layout.genes, Conditions.of(train, embeddings), notes)


def _left_out(screen: Screen, settings: Settings) -> list[str]:
    """Return a line for the record on cells that express too few genes, if there are some."""
    if not screen.left_out:
        return []
    return [
        f"{screen.left_out} of {screen.left_out + len(screen.rows)} training cells express less than "
        f"{settings.cells.min_genes} genes of the list, and are neither fine-tuned on nor pasted from"
    ]


def _embed_training(
    embedder: Embedder, screen: Screen, seed: int, labels: Iterable[str]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the embedding of each training condition that has one, and lines for the record on the others."""
    source = TrainingCells(screen)
    embeddings: dict[str, np.ndarray] = {}
    unlisted, without_cells = [], []
    for label in sorted(set(labels)):
        if embedder.pool.unlisted(label):
            unlisted.append(label)
        elif (vector := embedder.embed(label, source, seed)) is None:
            without_cells.append(label)
        else:
            embeddings[label] = vector
    notes = []
    if unlisted:
        notes.append(
            f"{len(unlisted)} training conditions have a target outside scBERT's gene list, such as {unlisted[0]!r}, "
            "and no embedding"
        )
    if without_cells:
        notes.append(
            f"{len(without_cells)} training conditions have no cell that expresses enough genes, such as "
            f"{without_cells[0]!r}, and no embedding"
        )
    return embeddings, notes
