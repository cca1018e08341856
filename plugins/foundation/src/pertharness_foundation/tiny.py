"""Write checkpoints of random weights in published layouts: what tests load by the path that the real ones take."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def random_state(module: nn.Module, seed: int, *, rename: Callable[[str], str] = str) -> dict[str, Tensor]:
    """Return random values for all parameters and buffers of a model, which may be on the meta device.

    Weights are normal with a standard deviation of one by the square root of their inputs, gains of norms near 1,
    biases and running means near 0, running variances above 0, whole numbers 0: a forward pass gives numbers of
    ordinary size to which every tensor contributes.

    Parameters
    ----------
    seed
        The same seed gives the same values for a key and shape, whatever the other keys are.
    rename
        Returns the published key of a key of the model.
    """
    return {rename(key): _random(key, value, seed) for key, value in module.state_dict().items()}


def random_tensor(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Return the random float32 values of a key of a checkpoint that no model here has."""
    import torch

    return _random(key, torch.empty(shape, device="meta"), seed)


def _random(key: str, like: Tensor, seed: int) -> Tensor:
    """Return random values of the shape and type of a tensor, drawn for its key."""
    import torch

    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype, device="cpu")
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {key}".encode()))
    values = torch.randn(like.shape, generator=generator, dtype=torch.float32, device="cpu")
    if key.endswith("running_var"):
        values = 1 + 0.2 * values.abs()
    elif like.ndim == 1:
        values = 0.1 * values + (1.0 if key.endswith(("weight", "gamma")) else 0.0)
    elif like.ndim:
        values /= math.sqrt(like.shape[-1])
    return values.to(like.dtype)


def write_torch(path: Path, content: Any) -> None:
    """Write tensors in dicts and lists as ``torch.save`` does; the same content gives the same bytes."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name as a file of safetensors."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def write_json(path: Path, content: Any) -> None:
    """Write a vocabulary or a configuration as JSON, its keys in the order given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, allow_nan=False, indent=1), encoding="utf-8")


def read_key_list(path: Path, block: str = "A") -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shape and type of each key in a list of published ones.

    Parameters
    ----------
    path
        Lines of key, shape (``[2, 3]``) and type (``float32``) with tabs between them; those with ``#`` are comments.
    block
        Of several lists in a file, each below a comment such as ``# B. model used for fine-tuning``, which; what stands
        above the first such comment is ``A``.
    """
    rows, current = [], "A"
    for line in path.read_text(encoding="utf-8").splitlines():
        if named := re.match(r"# ([A-Z])\. ", line):
            current = named.group(1)
        elif line.strip() and not line.startswith("#") and current == block:
            rows.append(line.split("\t"))
    return {key: (tuple(json.loads(shape)), dtype) for key, shape, dtype in rows}


def keys_of(module: nn.Module) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shape and type of each key of a model, as `read_key_list` does; it may be on the meta device."""
    return {
        key: (tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in module.state_dict().items()
    }
