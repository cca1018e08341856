"""``pertharness check``: the conformance kit on an installed plugin."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pertharness.contract.errors import RecipeError
from pertharness.host.cli.streams import echo

if TYPE_CHECKING:
    from pertharness.host.plugins.conformance import Tried


@click.command(short_help="Check a plugin with the conformance kit.")
@click.argument("plugin")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE",
              help="Value of a parameter; OFFER.NAME=VALUE if several offers have it. Repeatable.")  # fmt: skip
@click.option("--slot", "slots", multiple=True, metavar="SLOT=FILE",
              help="Embedding for a slot, h5ad or table; OFFER.SLOT=FILE if several have it. Repeatable.")  # fmt: skip
@click.option("--file", "files", multiple=True, metavar="NAME=PATH",
              help="Weights or side file by its name, or the file that an offer is made of, by the offer's name. "
              "Repeatable.")  # fmt: skip
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True),
              help="Time limit of one check in seconds (default: 30; 900 for an offer that is not cheap).")  # fmt: skip
@click.option(
    "--memory", "memory_mb", type=click.FloatRange(min=0, min_open=True), help="Memory limit of the plugin in MB."
)
@click.option("--verbose", "-v", is_flag=True, help="Show what each check promises.")
def check(
    plugin: str, params: Sequence[str], slots: Sequence[str], files: Sequence[str], timeout_s: float | None,
    memory_mb: float | None, verbose: bool,
) -> None:  # fmt: skip
    """Check PLUGIN, the name of an installed plugin or of its module, in its own interpreter on planted data.

    One line per check: ok, FAILED with the reason, or skipped with the reason. Exit status 1 if one failed.
    """
    from pertharness.host.execution.local import local_executor
    from pertharness.host.plugins.conformance import Limits, check_plugin, count
    from pertharness.host.recipe.value_types import read_value
    from pertharness.host.store.records import Store
    from pertharness.testing.user_inputs import UserInputs

    supplied = UserInputs(
        {name: read_value(value) for name, value in _pairs("--param", params).items()},
        {name: Path(value) for name, value in _pairs("--slot", slots).items()},
        {name: Path(value) for name, value in _pairs("--file", files).items()},
    )
    tried = []
    with tempfile.TemporaryDirectory(prefix="pertharness-check-") as folder:
        store = Store.open(Path(folder) / "store")
        for each in check_plugin(plugin, store, local_executor(store.root), Limits(timeout_s, memory_mb), supplied):
            tried.append(each)
            echo(_line_of(each, verbose=verbose))
    counts = count(tried)
    echo(", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number))
    if counts["FAILED"]:
        sys.exit(1)


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Return the values of a repeated option by name."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name.strip() or not value:
            raise RecipeError(f"{option} {text!r} is not NAME=VALUE; expected e.g. {option} {_EXAMPLES[option]}")
        if name.strip() in pairs:
            raise RecipeError(f"duplicate {option} {name.strip()!r}; give it one value")
        pairs[name.strip()] = value
    return pairs


_EXAMPLES = {"--param": "epochs=3", "--slot": "G=genes.h5ad", "--file": "gene2go.csv=downloads/gene2go.csv"}


def _line_of(tried: Tried, *, verbose: bool) -> str:
    """Return the text to print for a check: one line for a skip, the whole message for a failure."""
    line = f"{tried.verdict:8} {tried.check.id}"
    if tried.verdict == "skipped":
        return f"{line}: {' '.join(tried.message.split())}"
    below = tried.message or (tried.check.promise if verbose else "")
    return line + "".join(f"\n         {part}" for part in below.splitlines())
