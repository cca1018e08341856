"""What a caller has in memory, written to files: jobs run in processes of their own, and read files."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from pertharness.contract.errors import DataError, RecipeError
from pertharness.contract.stages import SPLIT
from pertharness.files.whole import replacing
from pertharness.host.api.arguments import as_path
from pertharness.host.run.datasets import dataset_name
from pertharness.host.splits import Split, write_split

if TYPE_CHECKING:
    from anndata import AnnData

    Data: TypeAlias = str | Path | AnnData
    """A file, the name of a dataset on offer, or what is in memory."""

INPUTS = "inputs"
"""Folder of a run that holds what came from memory: data, splits and predictions."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
"""Of a dataset: also the name of a file."""
_MODEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def file_of(adata: AnnData, folder: Path, name: str) -> Path:
    """Return the file that an AnnData is written to, ``folder/NAME.h5ad``, whole or not at all.

    Raises
    ------
    DataError
        If anndata cannot write it, with the reason.
    """
    path = folder / f"{name}.h5ad"
    with replacing(path) as temporary:
        try:
            adata.write_h5ad(temporary)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # of any kind: what anndata and h5py make of a value that no file can hold
            raise DataError(
                f"the AnnData {name!r} cannot be written as h5ad: {error}; remove or convert what it names, or pass "
                "the path of a file"
            ) from error
    return path


def split_file(split: str | Path | Split, folder: Path) -> Path:
    """Return the path of a split; one that is in memory is written to ``folder/split.json``.

    Raises
    ------
    RecipeError
        If it is neither a path nor a split.
    """
    if isinstance(split, str | Path):
        return as_path("split", split)
    if not isinstance(split, Split):
        raise RecipeError(
            f"split is {type(split).__name__}; expected the path of a split's JSON, or what make_split returned"
        )
    path = folder / SPLIT
    write_split(split, path)
    return path


def name_data(data: Data | Sequence[Data] | Mapping[str, Data] | None) -> dict[str, Data]:
    """Return data by the name that each has on the leaderboard.

    Raises
    ------
    RecipeError
        If something is no data, there is none, or two have the same name.
    """
    if isinstance(data, Mapping):
        named = dict(data)
    else:
        several = [] if data is None else list(data) if isinstance(data, list | tuple) else [data]
        names = [_name_of(item) for item in several]
        if len({*names}) < len(names):
            raise RecipeError(f"two of the data have the same name, {names}; pass a dict that names them")
        named = dict(zip(names, several, strict=True))
    if data is not None and not named:
        raise RecipeError("data is empty; expected a path, a name, an AnnData, or several")
    for name, item in named.items():
        if not is_dataset_name(name):
            raise RecipeError(f"data are named {name!r}; expected letters, digits, '.', '_' and '-'")
        if not isinstance(item, str | Path) and not is_adata(item):
            raise RecipeError(f"data {name!r} is {type(item).__name__}; expected a path, a name or an AnnData")
    return named


def name_screen(data: Data | Mapping[str, Data] | None) -> dict[str, Data]:
    """Return one screen by its name.

    Raises
    ------
    RecipeError
        If it is no data, or there are none or several.
    """
    named = name_data(data)
    if len(named) != 1:
        raise RecipeError(f"data are {len(named)} screens; expected one: a path, a name or an AnnData")
    return named


def write_data(named: Mapping[str, Data], folder: Path) -> dict[str, str | Path]:
    """Return data by name as paths and names of datasets on offer; what is in memory is written to `folder`.

    Raises
    ------
    DataError
        If an AnnData cannot be written.
    """
    return {name: file_of(item, folder, name) if is_adata(item) else item for name, item in named.items()}


def canonical_params(adata: AnnData) -> dict[str, Any]:
    """Return the parameters that read a canonical AnnData unchanged; nothing for any other AnnData.

    Splits are drawn in the order of the labels that the data were given, so these have to come back, each with the
    perturbation that it was read as.
    """
    fields = adata.uns.get("pertharness")
    if not isinstance(fields, Mapping) or not {"perturbation", "label_given"} <= {*adata.obs} or "genes" in adata.obs:
        return {}
    pairs = adata.obs[["label_given", "perturbation"]].astype(str).drop_duplicates()
    label_map = dict(zip(pairs["label_given"], pairs["perturbation"], strict=True))
    descriptors = {name: str(fields[name]) for name in ("level", "modality") if fields.get(name)}
    return {"label_column": "label_given", "label_map": label_map, "scale": "log1p", **descriptors}


def own_params(named: Mapping[str, Data]) -> dict[str, dict[str, Any]]:
    """Return how each of the data that are in the canonical form is read, by name."""
    return {name: canonical_params(item) for name, item in named.items() if is_adata(item)}


def is_adata(value: object) -> TypeGuard[AnnData]:
    """Return whether a value is an AnnData; anndata is not imported where nobody else did."""
    anndata = sys.modules.get("anndata")
    return anndata is not None and isinstance(value, anndata.AnnData)


def is_dataset_name(name: object) -> bool:
    """Return whether a value can be the name of a dataset or a run, and of their files."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def is_name(name: object) -> bool:
    """Return whether a value can be the name of a model's predictions, and of their file."""
    return isinstance(name, str) and _MODEL_NAME.fullmatch(name) is not None


def _name_of(item: Data) -> str:
    """Return the name of data: that of the file, the offer, or the one that a loaded dataset has."""
    if isinstance(item, str | Path):
        return dataset_name(item)
    fields = getattr(item, "uns", {}).get("pertharness", {})
    return dataset_name(str(fields.get("name", ""))) if isinstance(fields, Mapping) else "data"
