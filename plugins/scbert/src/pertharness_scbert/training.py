"""Fine-tuning: the network learns to tell the training conditions apart, in its last layer but one and a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pertharness_foundation.loop import LoopSettings, Outcome, fine_tune

from pertharness_scbert.cells import Screen, tokenise
from pertharness_scbert.drawing import SPLIT_SEED, Drawn, batches_of
from pertharness_scbert.network import ScBert
from pertharness_scbert.schedule import learning_rate
from pertharness_scbert.settings import Settings
from pertharness_scbert.weights import Published, make_network

if TYPE_CHECKING:
    from torch import Tensor

CLIP = 1e6
"""Norm that gradients are scaled down to, as published: more than they have."""
TRAINED = -2
"""The layer that is trained, of those of the Performer; with the last norm and the classifier."""


def fit_network(
    published: Published, screen: Screen, drawn: Drawn, settings: Settings, device: torch.device, seed: int,
    workdir: Path,
) -> tuple[ScBert, tuple[str, ...]]:  # fmt: skip
    """Fine-tune the network of a checkpoint on the labels of training cells.

    Returns
    -------
    tuple
        The network of the epoch with the best accuracy, in evaluation mode on the device, and lines for the record.
    """
    choices, options = settings.choices(), settings.finetuning
    start = SPLIT_SEED if choices.finetuning_seed == "fixed" else seed
    torch.manual_seed(start)
    network, note = make_network(published, len(drawn.conditions))
    network = freeze(network).to(device)
    network.performer.key_maximum = choices.key_maximum
    lessons = _Lessons(screen, drawn, network, settings, np.random.RandomState(start))
    # A training of few cells has less batches than make a step.
    accumulate = min(options.accumulation_steps, -(-len(drawn.training) // options.batch_size))
    share = 1 / accumulate if choices.accumulation == "mean" else 1.0
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=options.lr)
    outcome = fine_tune(
        network, batches=lessons.batches, loss_of=lambda batch: share * lessons.loss(batch),
        validate=lessons.share_wrong, optimiser=optimiser, scheduler=_scheduler(optimiser, options.lr),
        settings=LoopSettings(options.epochs, patience=options.patience + 1, accumulate=accumulate, clip_norm=CLIP),
        folder=workdir, generators={"cells": lessons.rng}, identity=f"{settings.model_dump_json()} seed {start}",
    )  # fmt: skip
    return network.eval().requires_grad_(False), (note, drawn.note, _note(outcome))


def freeze(network: ScBert) -> ScBert:
    """Return the network with what is trained left free: the last layer but one, the last norm, and the classifier."""
    network.requires_grad_(False)
    for part in (network.norm, network.performer.net.layers[TRAINED], network.to_out):
        part.requires_grad_(True)
    return network


def _scheduler(optimiser: Any, highest: float) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: learning_rate(epoch, highest) / highest)


def _note(outcome: Outcome) -> str:
    text = f"trained {len(outcome.training)} epochs" + (", stopped early" if outcome.stopped else "")
    accuracy = 1 - min(outcome.validation)
    return f"{text}; the weights are those of epoch {outcome.best_epoch}, accuracy {accuracy:.3g} on cells left aside"


class _Lessons:
    """Batches of tokens and classes, and what the network makes of them."""

    def __init__(
        self, screen: Screen, drawn: Drawn, network: ScBert, settings: Settings, rng: np.random.RandomState
    ) -> None:
        self.logs = screen.logs(drawn.cells)
        self.drawn, self.network, self.rng = drawn, network, rng
        self.size = settings.finetuning.batch_size
        self.replacement = settings.choices().sampling == "replacement"
        self.device = network.norm.weight.device

    def batches(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the rows of an epoch's batches."""
        yield from batches_of(self.drawn.training, self.size, self.rng, replacement=self.replacement)

    def loss(self, rows: np.ndarray) -> Tensor:
        """Return the mean cross-entropy of a batch."""
        scores, classes = self._scores(rows)
        return torch.nn.functional.cross_entropy(scores, classes)

    def share_wrong(self, epoch: int) -> float:
        """Return the share of cells left aside whose condition is not found."""
        wrong, count = 0, 0
        for rows in batches_of(self.drawn.test, self.size, self.rng, replacement=self.replacement):
            scores, classes = self._scores(rows)
            wrong += int((scores.argmax(dim=1) != classes).sum())
            count += len(rows)
        return wrong / count

    def _scores(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        tokens = tokenise(self.logs[rows], self.network.sizes.n_tokens).astype(np.int64)
        scores = self.network(torch.from_numpy(tokens).to(self.device))
        return scores, torch.from_numpy(self.drawn.classes[rows]).to(self.device)
