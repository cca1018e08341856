"""Read pickled dictionaries that models are published with; nothing in them is run, whatever they name."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pertharness_foundation.contents import CheckpointError, check_no_page

EXPECTED = "dicts, lists, sets, texts, numbers and arrays of numpy"
_KINDS = "biufSU"
"""Kinds of numpy's types that are read: truth values, numbers, bytes and texts; no objects, no records."""


def read_pickle(path: Path) -> Any:
    """Return the content of a pickle of dicts, lists, tuples, sets, texts, numbers, and scalars and arrays of numpy.

    Scalars of numpy become numbers of Python. A name of anything else in the pickle is an error before it is looked
    up, so that nothing is imported, called or built.

    Raises
    ------
    CheckpointError
        If it is no pickle, a part of one, a web page, or a pickle of anything else.
    """
    try:
        with path.open("rb") as file:
            check_no_page(path.name, file.read(4096))
            file.seek(0)
            return _as_plain(_Restricted(file).load(), {})
    except (pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError, ImportError,
            ArithmeticError, RecursionError, MemoryError) as error:  # fmt: skip
        # Half a file, and one of another format, end in any of these.
        raise CheckpointError(
            f"{path.name} cannot be read as a pickle of {EXPECTED}: {str(error) or type(error).__name__}; nothing in "
            "it was run; fetch the published file again"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path.name}: {error.strerror or error}; expected a file at {str(path)!r}") from None


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for one of the few names that such a file may have."""
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which would be run")


# numpy's own classes are not given to a pickle: the state of a dtype can be forged so that numbers are taken for
# addresses of objects. These read the same fields, and check them. Without a dict of their own, and with nothing to
# set, none can be changed by what is read.


class _Dtype:
    __slots__ = ("value",)

    def __init__(self, text: str) -> None:
        self.value = np.dtype(str(text))
        if self.value.kind not in _KINDS:
            raise pickle.UnpicklingError(f"it holds arrays of type {text!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = str(state[1])
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it has a type of byte order {order!r}")
        self.value = np.dtype(self.value.str if order in "|=" else order + self.value.str[1:])


class _Array:
    __slots__ = ("value",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("it holds an array of objects")
        values = np.frombuffer(content, dtype.value)
        self.value = values.reshape(tuple(map(int, shape)), order="F" if is_fortran else "C").copy()


class _MakeDtype:
    __slots__ = ()

    def __call__(self, text: str, *_: Any) -> _Dtype:
        return _Dtype(text)


class _MakeArray:
    __slots__ = ()

    def __call__(self, *_: Any) -> _Array:
        return _Array()


class _MakeFromBuffer:
    """What pickles of protocol 5 name to make an array."""

    __slots__ = ()

    def __call__(self, content: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
        array = _Array()
        array.__setstate__((1, shape, dtype, order == "F", bytes(content)))
        return array


class _MakeScalar:
    __slots__ = ()

    def __call__(self, dtype: _Dtype, content: bytes) -> Any:
        return np.frombuffer(content, dtype.value)[0].item()


class _Encode:
    """What pickles of protocol 2 name to write bytes as text."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"it encodes text as {encoding!r}")
        return text.encode("latin-1")


_BUILTINS: Mapping[str, Any] = {"set": set, "frozenset": frozenset, "list": list, "dict": dict, "tuple": tuple}
_NAMES: Mapping[tuple[str, str], Any] = {
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _BUILTINS.items()},
    ("collections", "OrderedDict"): dict,
    ("numpy", "dtype"): _MakeDtype(),
    ("numpy", "ndarray"): "ndarray",
    ("_codecs", "encode"): _Encode(),
    **{
        (f"numpy.{core}.{module}", name): make
        for core in ("core", "_core")
        for module, name, make in (
            ("multiarray", "_reconstruct", _MakeArray()),
            ("multiarray", "scalar", _MakeScalar()),
            ("numeric", "_frombuffer", _MakeFromBuffer()),
        )
    },
}


def _as_plain(value: Any, seen: dict[int, Any]) -> Any:
    """Return a value with numpy's arrays in the place of what stands for them.

    Parameters
    ----------
    seen
        What became of values, by their identity: one that stands in many places is converted once.
    """
    if value is None or isinstance(value, (str, bytes, bool, int, float)):
        return value
    if id(value) not in seen:
        seen[id(value)] = _converted(value, seen)
    return seen[id(value)]


def _converted(value: Any, seen: dict[int, Any]) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {_as_plain(key, seen): _as_plain(item, seen) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_as_plain(item, seen) for item in value)
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__.lstrip('_')}")
