"""What a training depends on between two epochs, as files in the job's own folder: written whole, read as tensors."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
_STATE = "state.pt"


@dataclass(frozen=True)
class Progress:
    """Losses of the epochs trained, and the best of these, from 1."""

    training: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    best_epoch: int = 0


@dataclass(frozen=True)
class Trainer:
    """What changes while a model is trained.

    Attributes
    ----------
    generators
        Name -> generator of torch or numpy.
    scaler
        Of the loss, for a training in float16.
    """

    module: nn.Module
    optimiser: Any
    scheduler: Any
    generators: Mapping[str, Any]
    scaler: Any = None

    def load_best(self, folder: Path, progress: Progress) -> None:
        """Put the weights of the best epoch into the module."""
        import torch

        path = folder / _best(progress.best_epoch)
        self.module.load_state_dict(torch.load(path, map_location=_device(self.module), weights_only=True))


def write_progress(folder: Path, trainer: Trainer, progress: Progress, identity: str, *, is_best: bool) -> None:
    """Write the state after an epoch; a reader sees that of before or this one, never a part.

    Parameters
    ----------
    is_best
        Whether the weights are the best so far; a copy of them is kept then.
    """
    import torch

    folder.mkdir(exist_ok=True)
    if is_best:
        _replace(folder / _best(progress.best_epoch), trainer.module.state_dict())
    gradients = {name: p.grad for name, p in trainer.module.named_parameters() if p.grad is not None}
    scheduler = None if trainer.scheduler is None else trainer.scheduler.state_dict()
    state = {
        "format": FORMAT, "identity": identity, "training": list(progress.training),
        "validation": list(progress.validation), "best_epoch": progress.best_epoch,
        "module": trainer.module.state_dict(), "gradients": gradients, "optimiser": trainer.optimiser.state_dict(),
        "scheduler": scheduler, "scaler": None if trainer.scaler is None else trainer.scaler.state_dict(),
        "generators": {name: _state_of(g) for name, g in trainer.generators.items()},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }  # fmt: skip
    _replace(folder / _STATE, state)
    for path in folder.glob("best-*.pt"):
        if path.name != _best(progress.best_epoch):
            path.unlink()


def read_progress(folder: Path, trainer: Trainer, identity: str, say: Callable[[str], None]) -> Progress | None:
    """Put the state of an earlier process into a trainer, and return its progress; None where there is none to use.

    Parameters
    ----------
    say
        Called with one line where there is one that cannot be used.
    """
    import torch

    if not (folder / _STATE).is_file():
        return None
    try:
        state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
        differs = (state["format"], state["identity"]) != (FORMAT, identity)
        has_best = (folder / _best(state["best_epoch"])).is_file()
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, OSError) as error:
        say(f"the state that an earlier process left cannot be read ({type(error).__name__}): training from the start")
        return None
    if differs or not has_best:
        say("the state that an earlier process left is of another training: training from the start")
        return None
    trainer.module.load_state_dict(state["module"])
    for name, parameter in trainer.module.named_parameters():
        gradient = state["gradients"].get(name)
        parameter.grad = None if gradient is None else gradient.to(parameter.device)
    trainer.optimiser.load_state_dict(state["optimiser"])
    if trainer.scheduler is not None:
        trainer.scheduler.load_state_dict(state["scheduler"])
    if trainer.scaler is not None:
        trainer.scaler.load_state_dict(state["scaler"])
    for name, generator in trainer.generators.items():
        _put_state(generator, state["generators"][name])
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    return Progress(tuple(state["training"]), tuple(state["validation"]), state["best_epoch"])


def _best(epoch: int) -> str:
    return f"best-{epoch}.pt"


def _device(module: nn.Module) -> Any:
    return next(module.parameters()).device


def _replace(path: Path, content: Any) -> None:
    """Write a file under a temporary name, and rename it when it is on the disk."""
    import torch

    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:  # torch itself does not say why it cannot write, as on a full disk
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _state_of(generator: Any) -> Any:
    """Return the state of a generator as a tensor, or, of numpy, as a text of JSON."""
    if isinstance(generator, np.random.RandomState):
        return json.dumps(generator.get_state(legacy=False), default=_as_list)
    if isinstance(generator, np.random.Generator):
        return json.dumps(generator.bit_generator.state, default=_as_list)
    return generator.get_state()


def _put_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.RandomState):
        generator.set_state(json.loads(state))
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = json.loads(state)
    else:
        generator.set_state(state)


def _as_list(value: Any) -> Any:
    """Return an array or a number of numpy as JSON writes it."""
    return value.tolist()
