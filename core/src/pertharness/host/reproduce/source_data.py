"""Where the Source Data files of an article lie, and what comes of reading them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pertharness.contract.errors import PertharnessError, RecipeError
from pertharness.host.fetch import default_folder
from pertharness.host.reproduce.point_by_point import SheetResult, compare_sheets
from pertharness.host.reproduce.published import Benchmark
from pertharness.host.reproduce.run_files import RunFiles
from pertharness.host.reproduce.sheets import read_workbook


def find_source_data(benchmark: Benchmark, name: str, folder: Path | None) -> tuple[list[Path], str]:
    """Return the Source Data files that are there, and what to tell the user if there are none or they cannot be read.

    Without a folder of the user's they are looked for in that of published files, and in its subfolder `name`.

    Raises
    ------
    RecipeError
        If the user named a folder, and it holds none of the files or openpyxl is not installed.
    """
    places = [folder] if folder else [default_folder(), default_folder() / name]
    found = [place / file for place in places for file in benchmark.source_data if (place / file).is_file()]
    said = ""
    if not found:
        said = (
            f"none of {', '.join(benchmark.source_data)} in {' or '.join(map(str, places))}; they are under "
            f"'Source data' of https://doi.org/{benchmark.doi}: put them there, or name their folder with --source-data"
        )
    elif find_spec("openpyxl") is None:
        said, found = "reading them needs openpyxl; install it with: pip install 'pertharness[reproduce]'", []
    if folder and said:
        raise RecipeError(f"Source Data: {said}")
    return found, said


def compare_source_data(files: Sequence[Path], runs: Sequence[RunFiles]) -> list[SheetResult]:
    """Return what became of every sheet of every file; of a file that cannot be read, why."""
    results: list[SheetResult] = []
    for file in files:
        try:
            results += compare_sheets(list(read_workbook(file)), runs)
        except PertharnessError as error:
            results.append(SheetResult(file.name, "", "", 0, 0, None, None, f"not used: {error}"))
    return results
