"""Tell that memory ran out from whatever torch or Python raised."""

from __future__ import annotations


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or a CPU."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, of at most 200 characters, or else the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
