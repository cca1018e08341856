"""Fine-tuning: a classifier of the training conditions, with the published optimiser and choice of the epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pertharness_foundation.device import Precision, autocast
from pertharness_foundation.loop import LoopSettings, fine_tune
from torch import Tensor
from torch.nn import functional as F

from pertharness_geneformer.network import Padded, pad
from pertharness_geneformer.settings import Training

CLIP_NORM = 1.0
"""The total norm that gradients are cut to: what the published trainer does unasked."""


@dataclass(frozen=True)
class Labelled:
    """Tokens of cells, and the class of each, int64, shape (n_cells,)."""

    cells: Sequence[np.ndarray]
    classes: np.ndarray


@dataclass(frozen=True)
class Classifier:
    """A network that learns to tell which condition a cell is of, and the cells that it learns from.

    Attributes
    ----------
    evaluation
        Cells whose loss chooses the epoch.
    seed
        Of the order of cells.
    """

    network: Any
    training: Labelled
    evaluation: Labelled
    options: Training
    padding: int
    device: torch.device
    precision: Precision
    seed: int

    def epoch(self, epoch: int) -> Iterator[tuple[Padded, Tensor]]:
        """Yield the batches of an epoch; its order depends on the seed and its number alone."""
        generator = torch.Generator().manual_seed(self.seed + epoch)
        yield from self._batches(self.training, torch.randperm(len(self.training.cells), generator=generator).numpy())

    def loss_of(self, batch: tuple[Padded, Tensor]) -> Tensor:
        """Return the cross-entropy of a batch."""
        padded, classes = batch
        logits = self.network(input_ids=padded.ids, attention_mask=padded.mask).logits
        return F.cross_entropy(logits.float(), classes)

    def validate(self, epoch: int) -> float:
        """Return the mean cross-entropy of the cells for evaluation."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for batch in self._batches(self.evaluation, np.arange(len(self.evaluation.cells))):
            with autocast(self.device, self.precision):
                total += self.loss_of(batch).double() * len(batch[1])
        return float(total) / len(self.evaluation.cells)

    def _batches(self, part: Labelled, order: np.ndarray) -> Iterator[tuple[Padded, Tensor]]:
        for start in range(0, len(order), self.options.batch_size):
            rows = order[start : start + self.options.batch_size]
            classes = torch.from_numpy(part.classes[rows]).to(self.device)
            yield pad([part.cells[row] for row in rows], self.padding, self.device), classes

    def train(self, workdir: Path, identity: str) -> str:
        """Train, leave the best weights in the network, and return a line for the record.

        Parameters
        ----------
        identity
            What the training depends on besides its options and its seed.
        """
        options = self.options
        freeze(self.network, options.frozen_layers)
        optimiser = torch.optim.AdamW(groups_of(self.network, options.weight_decay), lr=options.lr)
        steps = options.epochs * -(-len(self.training.cells) // options.batch_size)
        outcome = fine_tune(
            self.network, batches=self.epoch, loss_of=self.loss_of, validate=self.validate, optimiser=optimiser,
            scheduler=torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.0, 1 - step / steps)),
            settings=LoopSettings(options.epochs, clip_norm=CLIP_NORM, schedule="step"),
            folder=workdir, identity=json.dumps([options.model_dump(), self.seed, self.precision, identity]),
            autocast=lambda: autocast(self.device, self.precision),
        )  # fmt: skip
        return outcome.note()


def freeze(network: Any, n_layers: int) -> None:
    """Take the first layers of the encoder out of the training; the embeddings below them are trained."""
    for layer in network.bert.encoder.layer[:n_layers]:
        layer.requires_grad_(False)


def groups_of(network: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trained parameters, in a group with weight decay and one without: biases and norms have none."""
    norms = {f"{name}.weight" for name, part in network.named_modules() if isinstance(part, torch.nn.LayerNorm)}
    trained = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    bare = {name for name, _ in trained if name in norms or name.endswith("bias")}
    return [
        {"params": [parameter for name, parameter in trained if name not in bare], "weight_decay": weight_decay},
        {"params": [parameter for name, parameter in trained if name in bare], "weight_decay": 0.0},
    ]
