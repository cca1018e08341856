"""Fine-tuning: the published loss and optimiser, over pairs of a control and a perturbed cell."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pertharness import CONTROL, Skip
from pertharness_foundation.contents import named_file
from pertharness_foundation.device import Precision, autocast, open_device
from pertharness_foundation.genes import read_hgnc
from pertharness_foundation.loop import LoopSettings, fine_tune
from torch import Tensor
from torch.nn import functional as F

from pertharness_scgpt.batches import Batch, Batches
from pertharness_scgpt.data import Cells, Genes, Pairing, Pairs, choose_genes, read_cells, refuse_too_few
from pertharness_scgpt.fitted import Fitted
from pertharness_scgpt.network import Network
from pertharness_scgpt.precision import precision_on
from pertharness_scgpt.settings import Choices, Settings
from pertharness_scgpt.weights import Published

if TYPE_CHECKING:
    from anndata import AnnData

CLIP_NORM = 1.0
"""The total norm that gradients are cut to."""


@dataclass(frozen=True)
class Training:
    """All that an epoch draws and computes.

    Attributes
    ----------
    pairs
        Returns the training pairs, drawn anew where the procedure does so in every epoch.
    validation
        Pairs of validation; None: there are none.
    """

    network: Network
    batches: Batches
    pairs: Callable[[], Pairs]
    validation: Pairs | None
    choices: Choices
    precision: Precision
    generator: torch.Generator
    seed: int

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the training batches of an epoch."""
        return self.batches.shuffled(self.pairs(), self.generator, drop_last=True)

    def loss_of(self, batch: Batch) -> Tensor:
        """Return the mean squared error over all cells and genes of a batch."""
        return squared_error(self.network, batch)

    def validate(self, epoch: int) -> float:
        """Return the loss on the validation pairs.

        The published code draws other genes for every batch of every epoch, and weights the last batch, which may be
        small, like the others.
        """
        assert self.validation is not None
        fixed = self.choices.val_subset == "fixed"
        generator = torch.Generator().manual_seed(self.seed) if fixed else self.generator
        total, weight = torch.zeros((), dtype=torch.float64, device=self.batches.device), 0
        for batch in self.batches.shuffled(self.validation, generator, drop_last=False):
            of_batch = len(batch.values) if fixed else 1
            with autocast(self.batches.device, self.precision):
                loss = squared_error(self.network, batch)
            total += of_batch * loss
            weight += of_batch
        return float(total) / weight

    def run(self, settings: Settings, generators: Mapping[str, Any], workdir: Path) -> str:
        """Train, leave the best weights in the network, and return a line for the record."""
        options = settings.training
        optimiser = torch.optim.Adam(self.network.parameters(), lr=options.lr)
        outcome = fine_tune(
            self.network, batches=self.epoch, loss_of=self.loss_of, optimiser=optimiser, generators=generators,
            validate=None if self.validation is None else self.validate,
            scheduler=torch.optim.lr_scheduler.StepLR(optimiser, 1, options.lr_factor), scaler=self._scaler(),
            settings=LoopSettings(options.epochs, patience=options.patience, clip_norm=CLIP_NORM),
            folder=workdir, identity=json.dumps([settings.model_dump(), self.seed, self.precision], sort_keys=True),
            autocast=lambda: autocast(self.batches.device, self.precision),
        )  # fmt: skip
        return outcome.note()

    def _scaler(self) -> Any:
        """Return what scales the loss in float16, as published; None in other precisions."""
        return torch.amp.GradScaler(self.batches.device.type) if self.precision == "float16" else None


def squared_error(network: Network, batch: Batch) -> Tensor:
    """Return the mean squared error over cells and genes, in the type of `expected` whatever that of the layers."""
    predicted = network(batch.tokens, batch.values, batch.flags)
    return F.mse_loss(predicted.to(batch.expected.dtype), batch.expected)


def fit_scgpt(
    train: AnnData, val: AnnData | None, published: Published, settings: Settings, device: str, seed: int, workdir: Path
) -> Fitted:
    """Fine-tune the network on the cells of `train`; `val` chooses the epoch.

    Raises
    ------
    Skip
        If there is nothing that it can be trained on.
    """
    notes: list[str] = []
    place = open_device(device)
    choices = settings.choices()
    table = read_hgnc(named_file("scgpt", "gene_table", named)) if (named := settings.names.gene_table) else None
    genes = choose_genes(
        list(map(str, train.var_names)), train.var.get("ensembl_id"), published.vocabulary, choices.unknown_genes, table
    )
    notes.append(genes.note)
    cells = read_cells(train, genes, notes)
    held_back = _validation_cells(val, genes, notes)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        network = Network(published.sizes, settings.training.dropout)
        notes.append(published.load_into(network, choices.decoder_init).note())
        network = network.to(place)
        notes += _train(network, cells, held_back, genes, settings, place, seed, workdir)
    return Fitted(network.eval(), genes, settings, tuple(notes))


def _validation_cells(val: AnnData | None, genes: Genes, notes: list[str]) -> Cells | None:
    """Return the perturbed cells of validation; None if there are none."""
    if val is None or not val.n_obs:
        return None
    cells = read_cells(val, genes, notes, "validation")
    perturbed = np.flatnonzero(cells.labels != CONTROL)
    return Cells(cells.expression[perturbed], cells.labels[perturbed]) if len(perturbed) else None


def _train(
    network: Network, cells: Cells, held_back: Cells | None, genes: Genes, settings: Settings, device: torch.device,
    seed: int, workdir: Path,
) -> list[str]:  # fmt: skip
    """Train the network, leave the best weights in it, and return lines for the record."""
    choices, options = settings.choices(), settings.training
    rng = np.random.RandomState(seed)
    generator = torch.Generator().manual_seed(seed)
    left_out: dict[str, str] = {}
    if not len(cells.controls()):
        raise Skip("scGPT predicts from control cells, and there are none in the training data")
    controls = cells.expression[cells.controls()]
    pairing = Pairing(controls, cells, genes, choices.ctrl_pairs, left_out)
    pairs = pairing.draw(rng)
    refuse_too_few(pairs, options.batch_size, left_out)
    validation = held_back and Pairing(controls, held_back, genes, choices.ctrl_pairs, left_out).draw(rng)
    training = Training(
        network=network, choices=choices, generator=generator, seed=seed,
        precision=precision_on(device, choices.precision),
        pairs=(lambda: pairing.draw(rng)) if choices.pairing == "every_epoch" else (lambda: pairs),
        validation=validation or None,
        batches=Batches(genes.tokens, options.batch_size, options.max_seq_len, choices.gene_subset, device),
    )  # fmt: skip
    return [*_lines(left_out, training), training.run(settings, {"torch": generator, "numpy": rng}, workdir)]


def _lines(left_out: Mapping[str, str], training: Training) -> list[str]:
    """Return what a reader should know of the data and the precision."""
    lines = [f"precision: {training.precision}"]
    if left_out:
        first, reason = next(iter(left_out.items()))
        lines.append(f"{len(left_out)} training perturbations are left out (first: {first!r}: {reason})")
    if training.validation is None:
        lines.append("no validation data can be used: the weights are those of the last epoch")
    return lines
