"""Find the Source Data files of an article, and compare them with runs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pertharness.contract.cards import RecipeOffer
from pertharness.contract.errors import PertharnessError, RecipeError
from pertharness.host.fetch import default_folder
from pertharness.host.reproduce.point_by_point import SheetResult, compare_sheets
from pertharness.host.reproduce.run_files import RunFiles
from pertharness.host.reproduce.sheets import read_workbook


def find_source_data(offer: RecipeOffer, folder: Path | None) -> tuple[list[Path], str]:
    """Return the Source Data files that are available, or the reason why none can be read.

    Without a folder of the user's, look in that of published files and in its subfolder of the offer's name.

    Raises
    ------
    RecipeError
        If the user named a folder, and it holds none of the files or openpyxl is not installed.
    """
    if not offer.source_data and folder is None:
        return [], ""
    folders = [folder] if folder else [default_folder(), default_folder() / offer.name]
    files = [base / file for base in folders for file in offer.source_data if (base / file).is_file()]
    problem = ""
    if not files:
        problem = (
            f"none of {', '.join(offer.source_data)} in {' or '.join(map(str, folders))}; they are under "
            f"'Source data' of https://doi.org/{offer.doi}: put them there, or name their folder with --source-data"
            if offer.source_data
            else f"{offer.name} names no files of Source Data; leave out --source-data"
        )
    elif find_spec("openpyxl") is None:
        problem, files = "reading them needs openpyxl; install it with: pip install 'pertharness[reproduce]'", []
    if folder and problem:
        raise RecipeError(f"Source Data: {problem}")
    return files, problem


def compare_source_data(offer: RecipeOffer, files: Sequence[Path], runs: Sequence[RunFiles]) -> list[SheetResult]:
    """Return the result of every sheet of every file, or the reason why a file cannot be read."""
    results: list[SheetResult] = []
    for file in files:
        try:
            results += compare_sheets(list(read_workbook(file)), runs, offer.aliases)
        except PertharnessError as error:
            results.append(SheetResult(file.name, "", "", 0, 0, None, None, f"not used: {error}"))
    return results
