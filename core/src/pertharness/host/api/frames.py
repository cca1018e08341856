"""The tables of a run's folder as DataFrames: texts stay texts, and numbers keep all their digits."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import RecipeError
from pertharness.host.text.did_you_mean import expected

if TYPE_CHECKING:
    import pandas as pd

TEXTS = frozenset((
    "context", "dataset", "device", "direction", "gene", "key", "label", "label_given", "metric", "model", "note",
    "params", "part", "perturbation", "phase", "plugin", "reason", "record", "reference", "set", "split", "stage",
    "state", "stratum", "task", "variant", "verdict",
))  # fmt: skip
"""Columns that are texts whatever they hold: a gene called NA, a split called 1."""


def read_frame(path: Path) -> pd.DataFrame:
    """Return a CSV file of a run, of which a cell without a value is an empty text or NaN.

    Raises
    ------
    RecipeError
        If the run has no such file.
    """
    import pandas as pd

    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            header = next(csv.reader(file), [])
    except OSError as error:
        raise RecipeError(f"{str(path)!r} cannot be read ({error.strerror or error}); run it again") from None
    texts = [name for name in header if name in TEXTS]
    options: dict[str, Any] = {
        "dtype": dict.fromkeys(texts, str), "keep_default_na": False,
        "na_values": {name: [""] for name in header if name not in texts},
    }  # fmt: skip
    if int(pd.__version__.partition(".")[0]) < 3:  # later versions read numbers exactly, and warn of the option
        options["float_precision"] = "round_trip"
    frame: pd.DataFrame = pd.read_csv(path, encoding="utf-8", **options)
    return frame


class RunTables(Mapping[str, "pd.DataFrame"]):
    """The tables that a run has beside its leaderboard, by name; each is read when it is asked for."""

    def __init__(self, folder: Path, described: Mapping[str, Mapping[str, Any]]) -> None:
        self._folder = folder
        self._described = described

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._described:
            raise KeyError(f"the run has no table {name!r}; {expected(name, self._described)}")
        return read_frame(self._folder / f"{name}.csv")

    def __iter__(self) -> Iterator[str]:
        return iter(self._described)

    def __len__(self) -> int:
        return len(self._described)

    def __repr__(self) -> str:
        lines = [f"  {name}: {table['rows']} rows, {table['summary']}" for name, table in self._described.items()]
        return "\n".join(["Tables:", *lines]) if lines else "Tables: none"
