"""Write a fitted model to a folder, and read it again: tensors as safetensors, all else as JSON, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness_foundation.contents import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, FACTS = "model.safetensors", "model.json"


def save_weights(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write the tensors of a model and what else it needs to predict; what the hook ``save_model`` does.

    Parameters
    ----------
    folder
        An existing folder, in which ``model.safetensors`` and ``model.json`` are written.
    tensors
        Name -> tensor, on any device; two may share memory, and are written twice.
    facts
        What JSON holds exactly: settings, genes, labels, numbers.
    """
    from safetensors.torch import save_file

    text = json.dumps(facts, allow_nan=False, indent=1)
    own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    save_file(own, folder / WEIGHTS)
    (folder / FACTS).write_text(text, encoding="utf-8")


def load_weights(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, on the CPU, and the facts that `save_weights` wrote; what ``load_model`` begins with.

    Raises
    ------
    CheckpointError
        If a file is absent or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        tensors: dict[str, Tensor] = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"the saved model in {str(folder)!r} cannot be read: {reason}; expected {WEIGHTS} and {FACTS} as a run "
            "with --keep-models writes them"
        ) from None
    if not isinstance(facts, dict):
        raise CheckpointError(f"{FACTS} in {str(folder)!r} holds a {type(facts).__name__}; expected an object")
    return tensors, facts
