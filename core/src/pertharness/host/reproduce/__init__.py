"""Published benchmarks, done again: recipes that the package brings, and published numbers beside measured ones."""

from __future__ import annotations

from pathlib import Path

from pertharness.errors import RecipeError

_FOLDER = Path(__file__).parent


def recipe_file(wanted: Path) -> Path:
    """Give the path of a recipe: a file of the user's, or else a recipe of the package by its name."""
    own = _FOLDER / "recipes" / f"{wanted.name}.toml"
    is_name = wanted.name == str(wanted) and not wanted.exists()
    return own if is_name and own.is_file() else wanted


def published_file(paper: str) -> Path:
    """Give the file of a paper's published numbers.

    Raises
    ------
    RecipeError
        If there is none, with the papers that there are.
    """
    from pertharness.host.did_you_mean import expected

    known = papers()
    if paper not in known:
        raise RecipeError(f"there is no benchmark {paper!r} to reproduce; {expected(paper, known)}")
    return known[paper]


def papers() -> dict[str, Path]:
    """Give the benchmarks whose published numbers the package has, with the files of the numbers."""
    return {path.stem: path for path in sorted((_FOLDER / "numbers").glob("*.toml"))}
