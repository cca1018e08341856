"""Read the tensors of a published checkpoint, and load them key for key, none absent or left over in silence."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness_foundation.contents import CheckpointError as CheckpointError
from pertharness_foundation.contents import kind_of

if TYPE_CHECKING:
    from torch import Tensor, nn

SHOWN = 5
"""Keys that an error names; of more, the number."""


def read_checkpoint(path: Path) -> Any:
    """Return the content of a file of weights: tensors in dicts and lists; nothing in it is run.

    A torch file is read by ``torch.load(weights_only=True)``, its tensors memory-mapped; a file of safetensors is
    memory-mapped, too. The format is told by the content, not by the name.

    Raises
    ------
    CheckpointError
        If the file is absent, truncated, a web page, a plain pickle, or holds objects that would have to be run.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    kind = kind_of(path)
    if kind == "pickle":
        raise CheckpointError(
            f"{path.name} is a plain pickle, not a file of weights as `torch.save` writes it; a pickle can run any "
            "code, and is not opened; fetch the published file, or save its state_dict with `torch.save`"
        )
    try:
        if kind == "safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "torch")
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path.name, str(error))) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError,
            ArithmeticError, MemoryError, struct.error) as error:  # fmt: skip
        # A torch file whose list of tensors was damaged ends in any of these.
        raise CheckpointError(
            f"{path.name} cannot be read as weights: {_first_line(str(error))}; its download may not have finished, or "
            "it is another file of that name; fetch it again"
        ) from None


def read_state_dict(path: Path, *, at: Sequence[str] = (), prefix: str = "") -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by their published keys.

    Parameters
    ----------
    path
        A torch file or a file of safetensors; see `read_checkpoint`.
    at
        Keys of the dicts that lead to the state dict: ``("gene", "state_dict")``; none where the file is one.
    prefix
        What all keys begin with, and is taken off: ``"model."``.

    Raises
    ------
    CheckpointError
        If the file cannot be read, has no such dict, or holds there something else than tensors.
    """
    return state_dict_in(read_checkpoint(path), source=path.name, at=at, prefix=prefix)


def state_dict_in(content: Any, *, source: str, at: Sequence[str] = (), prefix: str = "") -> dict[str, Tensor]:
    """Return the state dict in the content of a checkpoint; see `read_state_dict`.

    Parameters
    ----------
    source
        Name of the file, for messages.
    """
    import torch

    for depth, key in enumerate(at):
        if not isinstance(content, Mapping) or key not in content:
            held = f"the keys {_shown(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
            where = "".join(f"[{part!r}]" for part in at[:depth]) or "the file"
            raise CheckpointError(f"{source} is not the published layout: {where} holds {held}; expected {key!r}")
        content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{source} holds a {type(content).__name__}; expected a state dict: key -> tensor")
    if other := [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]:
        raise CheckpointError(
            f"{source} holds more than tensors: {_shown(other)}; expected a state dict, of tensors alone"
        )
    if unprefixed := [str(key) for key in content if not str(key).startswith(prefix)]:
        raise CheckpointError(f"{source}: the keys {_shown(unprefixed)} do not begin with {prefix!r}, as published")
    return {str(key)[len(prefix) :]: value for key, value in content.items()}


@dataclass(frozen=True)
class KeyRules:
    """What becomes of each published key.

    Attributes
    ----------
    loads, ignores
        Patterns of published keys, as the file has them (without the prefix): ``encoder.*`` matches what begins with
        ``encoder.``. What matches both is ignored.
    fresh
        Patterns of keys of the model that no published key fills.
    rename
        Returns the key in the model of a published one.
    """

    loads: tuple[str, ...]
    ignores: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    rename: Callable[[str], str] = str


@dataclass(frozen=True)
class KeyCounts:
    """How many tensors were loaded, ignored and started fresh."""

    loaded: int
    ignored: int
    fresh: int

    def note(self) -> str:
        """Return a line for the record."""
        return f"weights: {self.loaded} tensors loaded, {self.ignored} ignored, {self.fresh} fresh"


def load_state(
    module: nn.Module, state: Mapping[str, Tensor], rules: KeyRules, *, source: str, assign: bool = False
) -> KeyCounts:
    """Load published tensors into a model, each key accounted for.

    Parameters
    ----------
    module
        Its parameters and buffers are filled where the rules load them, and left as they are where these start fresh.
    state
        The tensors by published key; see `read_state_dict`.
    source
        Name of the file, for messages.
    assign
        Put the tensors themselves in the place of the model's instead of copying their values: those of a file stay
        memory-mapped, and a model on the meta device gets its values.

    Raises
    ------
    CheckpointError
        If the file has a key outside the rules, lacks one that is to be loaded, or has one of another shape or kind
        or with values that are no finite number; the model is unchanged then.
    ValueError
        If the rules contradict themselves: a key of the model is loaded and fresh.
    """
    import torch

    targets = module.state_dict(keep_vars=True)
    loaded, ignored = _sort_keys(state, rules, source)
    if both := [key for key in loaded if _matches(key, rules.fresh)]:
        raise ValueError(f"rules that load {_shown(both)} and start the same fresh")
    if extra := [f"{old!r} (as {key!r})" for key, old in loaded.items() if key not in targets]:
        raise CheckpointError(f"{source} has {_shown(extra, quote=False)}, which the model does not have")
    absent = [key for key in targets if key not in loaded and not _matches(key, rules.fresh)]
    if absent:
        wanted = [f"{key!r} {_shape(targets[key])}" for key in absent]
        raise CheckpointError(
            f"{source} lacks {_shown(wanted, quote=False)}, which the model loads; it is another checkpoint, or a part"
        )
    _check_fit({key: (state[old], targets[key]) for key, old in loaded.items()}, source, same_type=assign)
    if assign:
        module.load_state_dict({key: state[old] for key, old in loaded.items()}, strict=False, assign=True)
    else:
        with torch.no_grad():
            for key, old in loaded.items():
                targets[key].copy_(state[old])
    return KeyCounts(len(loaded), len(ignored), len(targets) - len(loaded))


def _sort_keys(state: Mapping[str, Tensor], rules: KeyRules, source: str) -> tuple[dict[str, str], list[str]]:
    """Return the key in the model -> published key of what is loaded, and the published keys that are ignored."""
    ignored = [key for key in state if _matches(key, rules.ignores)]
    left = dict.fromkeys(state)
    for key in ignored:
        del left[key]
    if unknown := [f"{key!r} {_shape(state[key])}" for key in left if not _matches(key, rules.loads)]:
        raise CheckpointError(
            f"{source} has {_shown(unknown, quote=False)}, which the published checkpoint does not have; it is one of "
            "another version or another model"
        )
    loaded: dict[str, str] = {}
    for key in left:
        if (name := rules.rename(key)) in loaded:
            raise CheckpointError(f"{source} has both {loaded[name]!r} and {key!r} for {name!r} of the model")
        loaded[name] = key
    return loaded, ignored


def _check_fit(pairs: Mapping[str, tuple[Tensor, Tensor]], source: str, *, same_type: bool) -> None:
    """Raise CheckpointError if a tensor has another shape or kind of number than the model's, or is not finite."""
    wrong = [
        f"{key!r} {_shape(value)} in place of {_shape(target)}"
        for key, (value, target) in pairs.items()
        if value.shape != target.shape
    ]
    if wrong:
        raise CheckpointError(f"{source} has {_shown(wrong, quote=False)}; it is a checkpoint of another size")
    wrong = [
        f"{key!r} of {value.dtype} in place of {target.dtype}"
        for key, (value, target) in pairs.items()
        if value.dtype != target.dtype and (same_type or value.is_floating_point() != target.is_floating_point())
    ]
    if wrong:
        raise CheckpointError(f"{source} has {_shown(wrong, quote=False)}; it is a checkpoint of another version")
    if wrong := [key for key, (value, _) in pairs.items() if not (value.is_meta or value.isfinite().all())]:
        raise CheckpointError(f"{source} has values that are no finite number in {_shown(wrong)}; fetch it again")


def _refusal(name: str, complaint: str) -> str:
    """Return the message for a file that torch does not read as weights alone, without torch's advice to do so."""
    reason = _first_line(complaint.partition("WeightsUnpickler error:")[2]).partition(" was not an allowed")[0]
    if any(word in reason for word in ("GLOBAL", "global", "class", "Trying to")):
        return (
            f"{name} holds more than tensors and plain values, and reading that would run code of the file's; it is "
            f"not opened ({reason}); if this should be the published file, fetch it again, else save its state_dict "
            "alone"
        )
    return f"{name} is damaged, or a part of a torch file ({reason}); fetch it again"


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _shown(names: Iterable[str], *, quote: bool = True) -> str:
    """Return the first few of some names, and the number of the others."""
    texts = [repr(name) if quote else name for name in names]
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["it ends too early"])[0][:200]
