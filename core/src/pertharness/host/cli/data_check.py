"""``pertharness data check``: one page on what a screen is, how it was understood, and what it can show."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pertharness.host.cli.option_groups import ReadingCommand
from pertharness.host.cli.shared_options import data_options, data_params, store_option
from pertharness.host.cli.streams import echo

if TYPE_CHECKING:
    from pertharness.host.screen.inspect_file import Facts

_NARROW, _WIDE = 80, 100


@click.command("check", cls=ReadingCommand)
@click.argument("dataset", metavar="FILE|NAME")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as one JSON object.")
@data_options
@store_option
def check_command(dataset: str, *, as_json: bool, store: Path | None, **options: Any) -> None:
    """Read a screen and print one page: what it is, how it was understood, and what it can show.

    All labels are read. Of more than 20 000 cells, the values of some 10 000 are read; a run checks every cell. Data
    that cannot be used are an error, with the flag that helps.
    """
    import json

    from pertharness.contract.errors import DataError, RecipeError
    from pertharness.host.screen.assemble import assemble_facts
    from pertharness.host.screen.page import write_page

    screen_facts, name = _find_facts(dataset, data_params(options), store)
    facts = assemble_facts(screen_facts, name)
    error = facts.get("error")
    if error is None and as_json:
        echo(json.dumps(facts, indent=1))
        return
    width = min(_WIDE, max(_NARROW, shutil.get_terminal_size((_WIDE, 24)).columns))
    if error is None:
        echo(write_page(facts, width))
        return
    if "n_obs" in facts and not as_json:
        echo(write_page(facts, width) + "\n", err=True)
    raise (RecipeError if error["kind"] == "choice" else DataError)(error["message"])


def _find_facts(dataset: str, params: dict[str, Any], store: Path | None) -> tuple[Facts, str]:
    """Return the facts of a file, or of a loaded dataset on offer, and its name."""
    from pertharness.data.containers import is_zarr
    from pertharness.host.cli.loading import find_record
    from pertharness.host.run.datasets import dataset_name
    from pertharness.host.screen.inspect_file import read_facts
    from pertharness.host.screen.record import facts_of_record

    path = Path(dataset)
    if path.is_file() or is_zarr(path):
        name = dataset_name(path)
        return read_facts(path, name, params), name
    record = find_record(dataset, params, store)  # or raise the error for an unknown name
    return facts_of_record(record.folder, list(record.notes)), record.name
