"""A dataset as a caller names it: a file and how to read it, or a dataset on offer with its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pertharness.contract.errors import RecipeError
from pertharness.data.containers import is_zarr

_OFFER = re.compile(r"([A-Za-z][A-Za-z0-9_-]*/)?[A-Za-z][A-Za-z0-9_-]*")


def dataset_name(data: str | Path) -> str:
    """Return the name of a dataset on the leaderboard: that of its file, cleaned and without suffix; else its own."""
    name = Path(data).stem if is_file(data) else str(data).replace("/", "-")
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:80] or "data"


def is_file(data: str | Path) -> bool:
    """Return whether a text means a file, which need not exist, rather than a dataset on offer."""
    path = Path(data)
    return isinstance(data, Path) or path.suffix in (".h5ad", ".h5mu", ".zarr") or path.is_file() or is_zarr(path)


def dataset_entry(data: str | Path, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a dataset in a recipe.

    Parameters
    ----------
    data
        Path of a file, or as text also the name of a dataset on offer.
    params
        Its parameters, as a recipe has them or as Python has them: tuples for lists, paths for texts.

    Raises
    ------
    RecipeError
        If `data` is neither a file nor can be the name of a dataset on offer.
    """
    if not is_file(data) and not _OFFER.fullmatch(str(data)):
        raise RecipeError(f"there is no file and no dataset {data!r}; expected an h5ad file, or a name such as 'demo'")
    plain = {name: _plain(value) for name, value in params.items() if value is not None}
    controls = plain.get("control_label")
    if isinstance(controls, list) and len(controls) == 1:
        plain["control_label"] = controls[0]
    if isinstance(plain.get("pool"), str):
        plain["pool"] = [plain["pool"]]
    if isinstance(label_map := plain.get("label_map"), str):
        plain["label_map"] = str(Path(label_map).expanduser().absolute())
    source = {"file": Path(data).expanduser().absolute()} if is_file(data) else {"offer": str(data)}
    return {**source, "params": plain}


def _plain(value: Any) -> Any:
    """Return a parameter in the types that a recipe has."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple | set | frozenset) else value
