"""Published benchmarks, done again: recipes that the package brings, and published numbers beside measured ones."""

from __future__ import annotations

from pathlib import Path

from pertharness.contract.errors import RecipeError

_FOLDER = Path(__file__).parent


def recipe_file(wanted: Path) -> Path:
    """Return the path of a recipe: a file of the user's, or else a recipe of the package by its name.

    Raises
    ------
    RecipeError
        If a name is that of neither, with the recipes of the package.
    """
    from pertharness.host.text.did_you_mean import expected

    known = {path.stem: path for path in sorted((_FOLDER / "recipes").glob("*.toml"))}
    if wanted.name != str(wanted) or wanted.exists() or wanted.suffix == ".toml":
        return wanted
    if wanted.name not in known:
        raise RecipeError(
            f"there is no recipe {wanted.name!r}, neither a file nor one that pertharness brings; "
            f"{expected(wanted.name, known)}, or a TOML file"
        )
    return known[wanted.name]


def published_file(paper: str) -> Path:
    """Return the file of a paper's published numbers.

    Raises
    ------
    RecipeError
        If there is none, with the papers that there are.
    """
    from pertharness.host.text.did_you_mean import expected

    known = papers()
    if paper not in known:
        raise RecipeError(f"there is no benchmark {paper!r} to reproduce; {expected(paper, known)}")
    return known[paper]


def papers() -> dict[str, Path]:
    """Return the benchmarks whose published numbers the package has, with the files of the numbers."""
    return {path.stem: path for path in sorted((_FOLDER / "numbers").glob("*.toml"))}
