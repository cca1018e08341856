"""Training the graph model on control cells paired with perturbed ones; the pretrained network stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pertharness import CONTROL
from pertharness_foundation.loop import LoopSettings, fine_tune
from torch import Tensor

from pertharness_scfoundation.cells import Cells, Columns
from pertharness_scfoundation.embedder import Embedder
from pertharness_scfoundation.graphs import Graph, coexpression_graph, ontology_graph
from pertharness_scfoundation.head import GraphHead, Perturbed, perturbed_in
from pertharness_scfoundation.loss import perturbation_loss
from pertharness_scfoundation.pairs import Batch, Screen, Validation, make_screen, make_validation, moments
from pertharness_scfoundation.perturbations import check_enough, choose_rows, expressed_genes, genes_of, number_genes
from pertharness_scfoundation.settings import Choices, Settings

CLIP = 1.0
"""Entries of gradients are clipped to it after each batch, as published."""
DECAY = 0.5
"""Factor of the learning rate after each epoch, as published."""


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes
    ----------
    columns
        Which gene of the data is which of the gene list.
    vocabulary
        Gene that can be perturbed, by each name that it may have in a query -> its number.
    graphs
        Co-expression and ontology.
    """

    embedder: Embedder
    head: GraphHead
    columns: Columns
    vocabulary: dict[str, int]
    graphs: tuple[Graph, Graph]
    settings: Settings
    notes: tuple[str, ...]


def fit_head(
    train: Cells, val: Cells | None, columns: Columns, terms: Mapping[str, frozenset[str]], embedder: Embedder,
    settings: Settings, seed: int, workdir: Path, notes: tuple[str, ...],
) -> Fitted:  # fmt: skip
    """Train the graph model; the best epoch on the validation cells is kept.

    Raises
    ------
    Skip
        If too few cells are left to train on.
    """
    choices, device = settings.choices(), embedder.device
    vocabulary = number_genes(terms, columns.listed)
    rows, left_out = choose_rows(train, vocabulary)
    train = train.take(rows)
    check_enough(train, settings.training.batch_size)
    rng = np.random.RandomState(seed)
    controls = train.take(np.flatnonzero(train.labels == CONTROL))
    screen = make_screen(train, controls, rng)
    embedder = _with_maxima(embedder, choices, controls, settings.training.batch_size, rng)
    graphs = _graphs(train, terms, device)
    head = make_head(embedder, graphs, choices, 0 if choices.network_seed == "zero" else seed)
    validation = make_validation(val, controls, vocabulary, rng)
    if validation is None:
        left_out = [*left_out, "there are no validation cells: the weights of the last epoch are kept"]
    outcome = _train(head, screen, validation, vocabulary, embedder, settings, seed, workdir)
    return Fitted(embedder, head, columns, vocabulary, graphs, settings, (*notes, *left_out, outcome))


def _with_maxima(
    embedder: Embedder, choices: Choices, controls: Cells, batch_size: int, rng: np.random.RandomState
) -> Embedder:
    """Return the embedder with the key maxima of the procedure."""
    if choices.key_maximum == "constant":
        return embedder.calibrated(controls, batch_size, rng)
    return embedder.with_maxima([choices.key_maximum] * len(embedder.key_maxima))


def _graphs(train: Cells, terms: Mapping[str, frozenset[str]], device: torch.device) -> tuple[Graph, Graph]:
    """Return the co-expression graph, of controls and singles as published, and the ontology graph."""
    singles = np.array(["+" not in label for label in train.labels], dtype=bool)
    coexpression = coexpression_graph(train.expression[np.flatnonzero(singles)], str(device))
    return coexpression, ontology_graph(list(terms.values()))


def make_head(embedder: Embedder, graphs: tuple[Graph, Graph], choices: Choices, seed: int) -> GraphHead:
    """Return an untrained graph model on the device; torch is seeded here."""
    torch.manual_seed(seed)
    sizes = embedder.network.sizes
    coexpression, ontology = graphs
    head: GraphHead = GraphHead(
        sizes.n_genes, ontology.n_nodes, sizes.decoder_width, coexpression=coexpression, ontology=ontology,
        smooth_all=choices.propagation == "all",
    ).to(embedder.device)  # fmt: skip
    return head


def predict_batch(head: GraphHead, embedder: Embedder, inputs: Cells, perturbed: Perturbed) -> Tensor:
    """Return the predicted expression of a batch, shape (cells, n_genes)."""
    expression = torch.from_numpy(inputs.expression.toarray()).to(embedder.device)
    output: Tensor = head(embedder.embed(inputs), expression, perturbed.to(embedder.device))
    return output


def _train(
    head: GraphHead, screen: Screen, validation: Validation | None, vocabulary: Mapping[str, int], embedder: Embedder,
    settings: Settings, seed: int, workdir: Path,
) -> str:  # fmt: skip
    """Train, and return a note for the record."""
    options, choices = settings.training, settings.choices()
    # A training of few cells has less batches than make a step.
    accumulate = min(options.accumulation_steps, len(screen.cells.labels) // options.batch_size)
    share = 1 / accumulate if choices.accumulation == "mean" else 1.0
    order = torch.Generator().manual_seed(0 if choices.network_seed == "zero" else seed)
    loss_of = batch_loss(head, screen, vocabulary, embedder, options.direction_lambda)

    def batches(epoch: int) -> Iterator[Batch]:
        shuffled = torch.randperm(len(screen.cells.labels), generator=order).numpy()
        for start in range(0, len(shuffled) - options.batch_size + 1, options.batch_size):
            yield screen.batch(shuffled[start : start + options.batch_size], embedder.device)

    def validate(epoch: int) -> float:
        assert validation is not None
        return validation_error(head, validation, vocabulary, embedder, options.batch_size)

    optimiser = torch.optim.Adam(head.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    outcome = fine_tune(
        head, batches=batches, loss_of=lambda batch: share * loss_of(batch), optimiser=optimiser,
        validate=None if validation is None else validate,
        scheduler=torch.optim.lr_scheduler.StepLR(optimiser, step_size=1, gamma=DECAY),
        settings=LoopSettings(options.epochs, accumulate=accumulate, clip_value=CLIP), folder=workdir,
        generators={"order": order}, identity=f"{settings.model_dump_json()} seed {seed}",
    )  # fmt: skip
    return outcome.note()


def batch_loss(
    head: GraphHead, screen: Screen, vocabulary: Mapping[str, int], embedder: Embedder, direction_lambda: float
) -> Callable[[Batch], Tensor]:
    """Return the function that computes the loss of a batch; what it needs of all cells is worked out once."""
    cells, device = screen.cells, embedder.device
    mean = np.asarray(screen.controls.expression.mean(axis=0, dtype=np.float64)).ravel()
    control_mean = torch.from_numpy(mean).to(device, torch.float32)
    expressed = expressed_genes(cells.expression, cells.labels, list(dict.fromkeys(cells.labels)))
    genes = {label: torch.from_numpy(numbers).to(device) for label, numbers in expressed.items()}

    def loss_of(batch: Batch) -> Tensor:
        perturbed = perturbed_in([genes_of(label, vocabulary) for label in batch.labels])
        predicted = predict_batch(head, embedder, batch.inputs, perturbed)
        return perturbation_loss(predicted, batch.observed, control_mean, batch.labels, genes, direction_lambda)

    return loss_of


def validation_error(
    head: GraphHead, validation: Validation, vocabulary: Mapping[str, int], embedder: Embedder, batch_size: int
) -> float:
    """Return the mean over perturbations of the squared error of predicted means, over the genes that change most."""
    screen = validation.screen
    sums = {label: np.zeros(screen.cells.expression.shape[1]) for label in validation.genes}
    for start in range(0, len(screen.cells.labels), batch_size):
        batch = screen.batch(np.arange(start, min(start + batch_size, len(screen.cells.labels))), embedder.device)
        perturbed = perturbed_in([genes_of(label, vocabulary) for label in batch.labels])
        predicted = predict_batch(head, embedder, batch.inputs, perturbed).double().cpu().numpy()
        for label, row in zip(batch.labels, predicted, strict=True):
            sums[label] += row
    errors = []
    for label, genes in validation.genes.items():
        rows = np.flatnonzero(screen.cells.labels == label)
        observed = moments(screen.cells.expression, rows)[0]
        errors.append(np.mean((sums[label] / len(rows) - observed)[genes] ** 2))
    return float(np.mean(errors))
