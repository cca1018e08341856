"""``pertharness compare``: what differs between two runs."""

from __future__ import annotations

import click

from pertharness.host.cli.streams import echo


@click.command(short_help="Show what differs between two runs.")
@click.argument("run_a", metavar="RUN")
@click.argument("run_b", metavar="RUN")
@click.option("--csv", "as_csv", is_flag=True, help="Print the scores of both side by side as CSV.")
def compare(run_a: str, run_b: str, *, as_csv: bool) -> None:
    """Compare two runs (folders such as runs/demo, or names under runs/): inputs, versions, scores and verdicts.

    A task is compared if both runs had the same data and splits, by their content; else the reason is printed.
    """
    from pertharness.host.api.comparison import compare as compare_runs
    from pertharness.host.text.csv_text import as_csv as to_csv

    comparison = compare_runs(run_a, run_b)
    echo(to_csv(comparison.scores).rstrip("\n") if as_csv else repr(comparison))
