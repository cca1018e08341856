"""Published dictionaries: read where they are plain, and never run."""

from __future__ import annotations

import collections
import copyreg
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from pertharness_foundation.contents import CheckpointError
from pertharness_foundation.unpickle import read_pickle

PLAIN = {
    "ENSG00000000003": 7, "set": {"GO:1", "GO:2"}, "list": [1, 2.5, None, True], "tuple": ("a", b"b"),
    "nested": {"frozen": frozenset({1})},
}  # fmt: skip


def written(tmp_path, content, protocol=pickle.HIGHEST_PROTOCOL):
    path = tmp_path / "dictionary.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_content_comes_back(tmp_path, protocol):
    assert read_pickle(written(tmp_path, PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_scalars_and_arrays_of_numpy_are_read(tmp_path, protocol):
    arrays = {
        "matrix": np.arange(6, dtype=">i4").reshape(2, 3), "fortran": np.asfortranarray(np.ones((2, 3), np.float32)),
        "texts": np.array(["a", "bcd"]), "truths": np.array([True, False]),
    }  # fmt: skip
    scalars = {"float": np.float64(2.5), "single": np.float32(0.5), "int": np.int64(-3), "truth": np.bool_(True)}
    back = read_pickle(written(tmp_path, collections.OrderedDict(**arrays, **scalars), protocol))
    assert {key: back[key] for key in scalars} == {"float": 2.5, "single": 0.5, "int": -3, "truth": True}
    assert type(back["float"]) is float
    for key, array in arrays.items():
        np.testing.assert_array_equal(back[key], array)
        assert back[key].dtype == array.dtype


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def _by_eval(path):
    return b"cbuiltins\neval\n(V__import__('os').mkdir(" + repr(str(path)).encode() + b")\ntR."


def _by_getattr(path):
    return b"cbuiltins\ngetattr\n(cos\nsystem\nVmkdir\ntR(Vmkdir " + str(path).encode() + b"\ntR."


def _by_instance(path):
    return b"(Vmkdir " + str(path).encode() + b"\nios\nsystem\n."


def _by_object(path):
    return b"(cos\nsystem\nVmkdir " + str(path).encode() + b"\no."


def _by_state_of_an_allowed_name(path):
    """Set attributes of what stands for numpy's constructor."""
    return b"cnumpy\ndtype\n(dV__call__\ncos\nsystem\nsb."


TRAPS = {
    "reduce": lambda path: pickle.dumps({"gene": Trap(path)}), "eval": _by_eval, "getattr": _by_getattr,
    "instance": _by_instance, "object": _by_object, "state": _by_state_of_an_allowed_name,
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_nothing_is_run(tmp_path, trap):
    path = written(tmp_path, trap(tmp_path / "mark"))
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        read_pickle(path)
    assert not (tmp_path / "mark").exists()


def test_a_registered_extension_is_not_run(tmp_path):
    copyreg.add_extension("os", "mkdir", 240)
    try:
        path = written(tmp_path, pickle.dumps({"gene": Trap(tmp_path / "mark")}, 2))
        with pytest.raises(CheckpointError, match=r"names (posix|nt|os).mkdir"):
            read_pickle(path)
    finally:
        copyreg.remove_extension("os", "mkdir", 240)
    assert not (tmp_path / "mark").exists()


def test_what_stands_for_numpy_cannot_be_changed(tmp_path):
    forged = b"cnumpy\ndtype\n(dVvalue\nI1\nsb."
    with pytest.raises(CheckpointError):
        read_pickle(written(tmp_path, forged))
    assert read_pickle(written(tmp_path, {"x": np.float64(1.5)})) == {"x": 1.5}


@pytest.mark.parametrize(
    "content",
    [np.array([{}], dtype=object), np.zeros(2, dtype=[("a", "i4")]), np.datetime64("2020-01-01"), Path("x"), 1j],
    ids=["objects", "records", "dates", "path", "complex"],
)
def test_other_things_are_refused(tmp_path, content):
    with pytest.raises(CheckpointError, match="cannot be read as a pickle of dicts, lists, sets"):
        read_pickle(written(tmp_path, {"x": content}))


def test_a_type_whose_state_is_forged_is_refused(tmp_path):
    """A dtype of numbers with the flags of a dtype of objects would let numbers be taken for addresses."""
    array = pickle.dumps(np.array([1, 2]), 2)
    forged = array.replace(b"U\x02i8", b"U\x01O").replace(b"X\x02\0\0\0i8", b"X\x01\0\0\0O")
    assert forged != array
    with pytest.raises(CheckpointError, match="type 'O'"):
        read_pickle(written(tmp_path, forged))


@pytest.mark.parametrize(
    "content", [b"", b"<html>confirm", pickle.dumps(PLAIN)[:-9], b"PK\x03\x04", b"gene,token\n", b"\x80\x04."],
    ids=["empty", "page", "truncated", "zip", "csv", "no value"],
)  # fmt: skip
def test_what_is_no_pickle_is_an_error(tmp_path, content):
    with pytest.raises(CheckpointError, match=r"^dictionary.pkl "):
        read_pickle(written(tmp_path, content))


def test_what_is_shared_many_times_is_converted_once(tmp_path):
    value = [np.array([1.0])]
    for _ in range(60):  # 2**60 lists, written out
        value = [value, value]
    assert read_pickle(written(tmp_path, value))[0][1][0] is not None


DTYPE = np.dtype("i4")


@pytest.mark.parametrize("content", [{DTYPE: 1}, {DTYPE}, [DTYPE], (DTYPE,)], ids=["key", "set", "list", "tuple"])
def test_what_stands_for_a_type_of_numpy_does_not_come_out(tmp_path, content):
    with pytest.raises(CheckpointError, match="it holds a Dtype"):
        read_pickle(written(tmp_path, content))


def test_a_value_within_itself_is_an_error(tmp_path):
    value = []
    value.append(value)
    with pytest.raises(CheckpointError):
        read_pickle(written(tmp_path, value))
