"""``pertharness reproduce``: run a published benchmark, and compare with the published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pertharness.host.cli.option_groups import GroupedCommand
from pertharness.host.cli.shared_options import FILE, loudness, output_options, running_options, store_option
from pertharness.host.cli.streams import echo

if TYPE_CHECKING:
    from pertharness.contract.cards import RecipeOffer
    from pertharness.host.reproduce.run_files import RunFiles
    from pertharness.host.reproduce.side_by_side import Row


@click.command(cls=GroupedCommand, short_help="Run a published benchmark and compare with the published numbers.")
@click.argument("benchmark")
@click.option("--demo", is_flag=True, help="Use the embedded demo data instead of the published screens.")
@click.option("--only", help="One of the benchmark's recipes by its short name, such as double.")
@click.option("--seeds", help="Split seeds other than the published ones: 1-5 or 1,3,7.")
@click.option(
    "--models",
    help="Only these of the benchmark's models, with other parameters if need be: gears,scgpt[epochs=1].",
)
@click.option("--source-data", type=FILE, help="Folder of the article's Source Data files. [PERTHARNESS_DATA]")
@click.option("--out", type=FILE, default=Path("runs"), show_default=True, help="Folder that gets a folder per run.")
@output_options
@running_options
@store_option
def reproduce(
    benchmark: str,
    demo: bool,
    only: str | None,
    models: str | None,
    source_data: Path | None,
    store: Path | None,
    out: Path,
    retry: tuple[str, ...],
    **options: Any,
) -> None:
    """Run the recipes of BENCHMARK, such as ahlmann-eltze-2025, and print published and measured numbers side by side.

    A plugin brings it: pertharness list recipes.
    Each run's folder gets reproduction.csv and reproduction.md, and source_data.csv where the article's files are.
    Exit status: as that of pertharness run; a number that differs is a result.
    """
    from pertharness.host.cli.run import carry_out_run, choices_of, choose, end_run
    from pertharness.host.plugins.registry import open_registry
    from pertharness.host.reproduce.benchmarks import find_benchmark
    from pertharness.host.reproduce.chosen_models import choose_models, common_sets_of
    from pertharness.host.reproduce.run_files import RunFiles
    from pertharness.host.reproduce.side_by_side import compare, title_of, write_rows
    from pertharness.host.reproduce.source_data import find_source_data
    from pertharness.host.run.recipes import run_name
    from pertharness.host.text.did_you_mean import expected

    published = find_benchmark(open_registry(), benchmark)
    if only is not None and only not in published.recipes:
        raise click.UsageError(f"--only {only}: {benchmark} has no such recipe; {expected(only, published.recipes)}")
    files, missing = find_source_data(published.offer, source_data)
    loud = loudness(options)
    chosen = choices_of({**options, "demo": demo})
    recipes = {short: choose(path, chosen) for short, path in published.recipes.items() if only in (None, short)}
    wanted = choose_models(recipes, models)
    finished, runs = [], []
    for short, recipe in recipes.items():
        folder = out / run_name(recipe)
        finished.append(carry_out_run(wanted[short], store, folder, retry, **loud))
        runs.append(RunFiles(folder, common_sets_of(recipe)))
    for (short, recipe), run in zip(recipes.items(), runs, strict=True):
        rows = compare(run, [number for number in published.numbers if number.recipe == short])
        title = title_of(published.offer, run_name(recipe), demo=demo, models=models)
        write_rows(rows, run.folder, title)
        print_rows(rows, title, run.folder)
    if missing:
        echo(f"Source Data, point by point: not compared: {missing}")
    if files:
        print_source_data(published.offer, files, runs)
    end_run(*finished)


def print_rows(rows: Sequence[Row], title: str, folder: Path) -> None:
    """Print published and measured numbers, and why some numbers were not measured."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pertharness.host.reproduce.side_by_side import HEADER, cells, not_measured, note_on_bases

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for position, name in enumerate(HEADER):
        grid.add_column(
            Text(name), overflow="fold", justify="left" if position < HEADER.index("published") else "right"
        )
    for row in rows:
        grid.add_row(*map(Text, cells(row)))
    echo(f"\n{title}")
    Console().print(grid)
    if note := note_on_bases(rows):
        echo(note)
    for reason, names in not_measured(rows).items():
        echo(f"not measured: {', '.join(names)}: {reason}")
    echo(f"written to {folder / 'reproduction.csv'} and reproduction.md, with the source of each number")


def print_source_data(offer: RecipeOffer, files: Sequence[Path], runs: Sequence[RunFiles]) -> None:
    """Compare the Source Data with the runs; print a line per sheet, and write the results into each run's folder."""
    from pertharness.host.reproduce.point_by_point import describe_result, write_results
    from pertharness.host.reproduce.source_data import compare_source_data

    results = compare_source_data(offer, files, runs)
    echo("\nSource Data, point by point; columns are recognised by their names")
    for result in results:
        echo(describe_result(result))
    for run in runs:
        write_results(results, run.folder / "source_data.csv")
