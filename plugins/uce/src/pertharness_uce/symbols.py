"""The human symbols in the order of their tokens, from the file that has the protein embeddings by symbol.

Only the keys of the dict are read: the vectors, 5120 numbers for each gene, stay in the file.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertharness_foundation.contents import CheckpointError, kind_of, read_text

_LARGEST_PICKLE = 1 << 28
"""Most bytes of the pickle in a torch file, which has names and shapes alone: some 3 MB for 20 000 genes."""


@dataclass(frozen=True)
class Symbols:
    """Symbols in their order, and the length of their vectors; None where the file has no vectors."""

    names: tuple[str, ...]
    width: int | None


def read_symbols(path: Path) -> Symbols:
    """Return the symbols of the published dict symbol -> vector, or of a ``.txt`` with one on each line.

    Raises
    ------
    CheckpointError
        If the file is neither, or a part of one; nothing in it is run.
    """
    if path.suffix == ".txt":
        names = [line.strip() for line in read_text(path).splitlines()]
        return _checked(path, [name for name in names if name], None)
    kind = kind_of(path)
    if kind not in ("torch", "legacy torch"):
        raise CheckpointError(
            f"uce: {path.name} is a file of {kind}; expected a torch file of a dict: symbol -> vector"
        )
    try:
        shapes = _read_zip(path) if kind == "torch" else _read_legacy(path)
    except (pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError, ImportError,
            ArithmeticError, OSError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise CheckpointError(
            f"uce: {path.name} cannot be read as a dict of symbols and vectors: {str(error) or type(error).__name__}; "
            "nothing in it was run; fetch the published file again"
        ) from None
    if not isinstance(shapes, dict) or not all(isinstance(name, str) for name in shapes):
        raise CheckpointError(f"uce: {path.name} holds no dict of texts; expected symbol -> vector")
    widths = {shape.value if isinstance(shape, _Shape) else None for shape in shapes.values()}
    width = next(iter(widths), None)
    if len(widths) != 1 or width is None or len(width) != 1:
        raise CheckpointError(
            f"uce: {path.name} holds other things than vectors of one length; expected symbol -> vector"
        )
    return _checked(path, list(shapes), width[0])


def _checked(path: Path, names: Sequence[str], width: int | None) -> Symbols:
    if not names:
        raise CheckpointError(f"uce: {path.name} has no symbols; expected the human genes of the checkpoint")
    return Symbols(tuple(names), width)


def _read_zip(path: Path) -> Any:
    """Return the pickled dict of a torch file, with a shape in the place of each tensor."""
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
        if len(entries) != 1 or entries[0].file_size > _LARGEST_PICKLE:
            raise ValueError(f"it has {len(entries)} entries data.pkl, or one of unusual size")
        with archive.open(entries[0]) as file:
            return _Keys(file).load()


def _read_legacy(path: Path) -> Any:
    """Return the same of a file of before torch 1.6: three small pickles, then the dict, then the numbers."""
    with path.open("rb") as file:
        reader = _Keys(file)
        for _ in range(3):
            reader.load()
        return reader.load()


class _Shape:
    """What stands in the place of a tensor."""

    __slots__ = ("value",)

    def __init__(self, size: Any) -> None:
        self.value = tuple(int(length) for length in size)


class _MakeShape:
    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, *_: Any) -> _Shape:
        return _Shape(size)


class _Keys(pickle.Unpickler):
    """Reads names and shapes; the few names that such a file has stand for nothing that could be run."""

    def persistent_load(self, pid: Any) -> None:
        """Leave the numbers of a tensor in the file."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _MakeShape()
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name.endswith("Storage"):
            return name
        raise pickle.UnpicklingError(f"it names {module}.{name}, which would be run")
