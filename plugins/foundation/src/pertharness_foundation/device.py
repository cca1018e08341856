"""The device, the precision on it, and batches that become smaller where its memory does not hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

from pertharness import Skip

from pertharness_foundation.log import log_line
from pertharness_foundation.memory import first_line
from pertharness_foundation.memory import is_out_of_memory as is_out_of_memory

Precision = Literal["float32", "bfloat16", "float16"]
Result = TypeVar("Result")
_RESERVE = 0.8
"""Part of the free memory that batches are planned for; the rest is for what an estimate forgets."""


def open_device(device: str) -> Any:
    """Return a device of torch by the name that the hooks give.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    Skip
        If torch here does not see that GPU.
    """
    import torch

    kind, _, number = device.partition(":")
    if kind != "cuda":
        return torch.device(device)
    if not torch.cuda.is_available():
        why = "was built without CUDA" if torch.version.cuda is None else f"(CUDA {torch.version.cuda}) sees no GPU"
        raise Skip(f"asked for {device!r}; torch {torch.__version__} {why}: use --device cpu")
    if int(number or 0) >= torch.cuda.device_count():
        raise Skip(f"asked for {device!r}; torch sees {torch.cuda.device_count()} GPUs, cuda:0 the first")
    return torch.device(device)


def choose_precision(
    device: Any, requested: Literal["auto", "float32", "bfloat16", "float16"], *, proven: bool
) -> Precision:
    """Return the precision of forward passes.

    Parameters
    ----------
    device
        As `open_device` returns it.
    requested
        A parameter of the model, so that it is part of the key; ``auto`` is bfloat16 on a GPU that computes in it.
    proven
        Whether at published size the condition means differ by at most 0.02 from those in float32 and predicted changes
        correlate at 0.999; otherwise ``auto`` is float32.

    Raises
    ------
    Skip
        If bfloat16 or float16 is requested where it cannot be had.
    """
    import torch

    able = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if requested == "bfloat16" and not able:
        raise Skip(f"precision 'bfloat16' needs a GPU of compute capability 8.0; this is {device}: take 'float32'")
    if requested == "float16" and device.type != "cuda":
        raise Skip(f"precision 'float16' needs a GPU; this is {device}: take 'float32'")
    if requested == "auto":
        return "bfloat16" if able and proven else "float32"
    return requested


def autocast(device: Any, precision: Precision) -> AbstractContextManager[Any]:
    """Return the context in which a forward pass computes in a precision; weights and losses stay in float32.

    A training in float16 takes a ``torch.amp.GradScaler``, too: small gradients would be 0.
    """
    import torch

    if precision == "float32":
        return nullcontext()
    context: AbstractContextManager[Any] = torch.autocast(device.type, dtype=getattr(torch, precision))
    return context


def first_size(device: Any, bytes_each: float, *, most: int) -> int:
    """Return how many items to try in a batch.

    Parameters
    ----------
    bytes_each
        Estimated memory of the largest intermediate arrays of one item.
    most
        What a larger batch is no faster than. On a CPU it is always this, so that results do not depend on the
        memory that is free.
    """
    import torch

    if device.type != "cuda":
        return most
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(most, int(free * _RESERVE / bytes_each)))


def in_batches(
    n: int, compute: Callable[[int, int], Result], *, size: int, say: Callable[[str], None] = log_line
) -> Iterator[Result]:
    """Yield the results of consecutive items, in batches that are halved when the memory does not hold one.

    For what does not depend on the other items of the batch: predictions, not steps of a training.

    Parameters
    ----------
    n
        Number of items.
    compute
        Returns the result for the items from a first one up to a last one, which it leaves out.
    size
        Items in a batch, to begin with.
    say
        Called with one line for each halving.

    Raises
    ------
    Skip
        If a single item does not fit.
    """
    start = 0
    while start < n:
        stop = min(n, start + size)
        try:
            result = compute(start, stop)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            shortage = first_line(error)
        else:
            yield result
            start = stop
            continue
        # Outside the block of the error, which would keep the arrays of the failed call alive.
        if stop - start == 1:
            raise Skip(f"a single cell does not fit in the memory: {shortage}; take a device with more, or fewer genes")
        size = (stop - start) // 2
        _free()
        say(f"out of memory with {stop - start} cells in a batch; going on with {size}")


def _free() -> None:
    """Return to the device what no array holds any more."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
