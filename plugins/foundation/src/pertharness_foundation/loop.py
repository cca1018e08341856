"""Fine-tune a model: epochs, early stopping, the best copy kept, and resume after a kill, bit for bit on a CPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pertharness import DataError, Skip

from pertharness_foundation.log import log_line as log_line
from pertharness_foundation.memory import first_line, is_out_of_memory
from pertharness_foundation.progress import Progress, Trainer, read_progress, write_progress

if TYPE_CHECKING:
    from torch import Tensor, nn

Batch = TypeVar("Batch")
CHECK_EVERY = 50
"""Batches between two looks at whether the loss is a number: each look waits for the device."""


@dataclass(frozen=True)
class LoopSettings:
    """How long to train, and what happens to gradients.

    Attributes
    ----------
    epochs
        Passes over the batches, at most.
    patience
        Epochs in a row without a smaller validation loss that end the training; None: all epochs are trained.
    accumulate
        Batches whose gradients are summed before a step. What is left at the end of an epoch is kept for the next.
    clip_norm
        The total L2 norm that gradients are scaled down to, before each step.
    clip_value
        What each entry of the gradients is clipped to, after each batch.
    schedule
        Whether the scheduler steps after each epoch or after each step of the optimiser.
    """

    epochs: int
    patience: int | None = None
    accumulate: int = 1
    clip_norm: float | None = None
    clip_value: float | None = None
    schedule: Literal["epoch", "step"] = "epoch"


@dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Attributes
    ----------
    best_epoch
        The epoch whose weights the model has now, from 1.
    training, validation
        Losses by epoch; the second is empty without validation.
    resumed_after
        Epochs that an earlier process of this job had trained; 0 where there was none.
    stopped
        Whether the training ended early.
    """

    best_epoch: int
    training: tuple[float, ...]
    validation: tuple[float, ...]
    resumed_after: int
    stopped: bool

    def note(self) -> str:
        """Return a line for the record."""
        text = f"trained {len(self.training)} epochs"
        text += ", stopped early" if self.stopped else ""
        if self.validation:
            text += f"; the weights are those of epoch {self.best_epoch}, validation loss {min(self.validation):.4g}"
        return text


def fine_tune(
    module: nn.Module, *, batches: Callable[[int], Iterable[Batch]], loss_of: Callable[[Batch], Tensor],
    validate: Callable[[int], float] | None, optimiser: Any, settings: LoopSettings, folder: Path,
    scheduler: Any = None, scaler: Any = None, generators: Mapping[str, Any] | None = None, identity: str = "",
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext, say: Callable[[str], None] = log_line,
) -> Outcome:  # fmt: skip
    """Train a model and leave the weights of its best epoch in it.

    After each epoch everything that the next ones depend on is written to `folder`; a process that was killed goes on
    from there when it is called again with the same arguments, and on a CPU ends with the same weights, bit for bit.

    Parameters
    ----------
    module
        What is trained and kept; frozen parts that never change are better left outside it.
    batches
        Called with the epoch, from 0; returns its batches, drawn from `generators` only.
    loss_of
        Returns the loss of a batch, a scalar with a gradient; called in training mode.
    validate
        Called with the epoch, from 0, in evaluation mode and without gradients; returns what is to be small. None: the
        weights of the last epoch are kept.
    optimiser, scheduler
        Of torch, over parameters of `module`.
    scaler
        A ``torch.amp.GradScaler`` for a training in float16: gradients are those of the loss when they are clipped, and
        a step with one that is no number is left out. Not for ``clip_value`` together with ``accumulate``.
    settings
        How long, and what happens to gradients.
    folder
        A folder of the job's own; ``training`` in it is made.
    generators
        Name -> ``torch.Generator``, ``numpy.random.Generator`` or ``numpy.random.RandomState`` that `batches`,
        `loss_of` or `validate` draw from. torch's global generators, which dropout uses, are kept without being named.
    identity
        What else the training depends on, as a text; a state of another identity is not taken up.
    autocast
        Returns the context of the forward pass; see `pertharness_foundation.device.autocast`.
    say
        Called with one line per epoch.

    Raises
    ------
    DataError
        If a loss is no number, or there is no batch.
    Skip
        If the memory does not hold a batch: a smaller one would be another training.
    """
    trainer = Trainer(module, optimiser, scheduler, dict(generators or {}), scaler)
    state_folder = folder / "training"
    progress = read_progress(state_folder, trainer, identity, say) or Progress()
    resumed_after = len(progress.training)
    if resumed_after:
        say(f"going on after epoch {resumed_after} of {settings.epochs}, which an earlier process of this job trained")
    while len(progress.training) < settings.epochs and not _is_over(progress, settings):
        epoch = len(progress.training)
        started = time.monotonic()
        module.train()
        try:
            training = _train_epoch(trainer, batches(epoch), loss_of, settings, autocast, epoch)
            validation = None if validate is None else _validated(module, validate, epoch)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise Skip(_too_small(error)) from None
            raise
        progress = _advance(progress, training, validation)
        is_best = progress.best_epoch == epoch + 1
        if scheduler is not None and settings.schedule == "epoch":
            scheduler.step()
        write_progress(state_folder, trainer, progress, identity, is_best=is_best)
        say(_line(progress, settings, time.monotonic() - started, is_best=is_best))
    if not progress.training:
        raise DataError(f"epochs is {settings.epochs!r}; expected at least 1")
    if progress.best_epoch != len(progress.training):
        trainer.load_best(state_folder, progress)
    module.eval()
    stopped = len(progress.training) < settings.epochs
    return Outcome(progress.best_epoch, progress.training, progress.validation, resumed_after, stopped)


def _train_epoch(
    trainer: Trainer, batches: Iterable[Batch], loss_of: Callable[[Batch], Tensor], settings: LoopSettings,
    autocast: Callable[[], AbstractContextManager[Any]], epoch: int,
) -> float:  # fmt: skip
    """Train one epoch and return the mean loss of its batches."""
    from torch.nn.utils import clip_grad_norm_, clip_grad_value_

    total, count = None, 0
    parameters = [parameter for parameter in trainer.module.parameters() if parameter.requires_grad]
    for count, batch in enumerate(batches, 1):
        with autocast():
            loss = loss_of(batch)
        (loss if trainer.scaler is None else trainer.scaler.scale(loss)).backward()
        is_due = count % settings.accumulate == 0
        if trainer.scaler is not None and is_due:
            trainer.scaler.unscale_(trainer.optimiser)
        if settings.clip_value is not None:
            clip_grad_value_(parameters, settings.clip_value)
        if is_due:
            if settings.clip_norm is not None:
                clip_grad_norm_(parameters, settings.clip_norm)
            _step(trainer)
            trainer.optimiser.zero_grad()
            if trainer.scheduler is not None and settings.schedule == "step":
                trainer.scheduler.step()
        total = loss.detach().double() if total is None else total + loss.detach()
        if count % CHECK_EVERY == 0:
            _check_number(float(total), "training", epoch, f" within its first {count} batches")
    if total is None:
        raise DataError("there is no batch to train on: the batch size is larger than the number of training cells")
    _check_number(float(total), "training", epoch, "")
    return float(total) / count


def _step(trainer: Trainer) -> None:
    """Take a step, unless the scaler sees a gradient that is no number."""
    if trainer.scaler is None:
        trainer.optimiser.step()
        return
    trainer.scaler.step(trainer.optimiser)
    trainer.scaler.update()


def _validated(module: nn.Module, validate: Callable[[int], float], epoch: int) -> float:
    import torch

    module.eval()
    with torch.no_grad():
        loss = float(validate(epoch))
    _check_number(loss, "validation", epoch, "")
    return loss


def _check_number(loss: float, kind: str, epoch: int, where: str) -> None:
    if not math.isfinite(loss):
        raise DataError(
            f"the {kind} loss is {loss} in epoch {epoch + 1}{where}: the training diverged; lower the learning rate, "
            "train in float32, or look for values in the data that are not log1p of counts per 10 000"
        )


def _advance(progress: Progress, training: float, validation: float | None) -> Progress:
    """Return the progress after one more epoch."""
    epoch = len(progress.training) + 1
    losses = progress.validation if validation is None else (*progress.validation, validation)
    is_best = validation is None or validation < min(progress.validation, default=math.inf)
    best = epoch if is_best else progress.best_epoch
    return replace(progress, training=(*progress.training, training), validation=losses, best_epoch=best)


def _too_small(error: BaseException) -> str:
    return (
        f"the memory does not hold a batch of the training: {first_line(error)}; take a device with more, or set a "
        "smaller batch_size, which is another training"
    )


def _is_over(progress: Progress, settings: LoopSettings) -> bool:
    """Return whether as many epochs as the patience went by without a smaller validation loss."""
    waited = len(progress.training) - progress.best_epoch
    return settings.patience is not None and bool(progress.training) and waited >= settings.patience


def _line(progress: Progress, settings: LoopSettings, seconds: float, *, is_best: bool) -> str:
    text = f"epoch {len(progress.training)} of {settings.epochs}: training loss {progress.training[-1]:.6g}"
    if progress.validation:
        text += f", validation loss {progress.validation[-1]:.6g}{' (best so far)' if is_best else ''}"
    return f"{text}, {seconds:.1f} s"
