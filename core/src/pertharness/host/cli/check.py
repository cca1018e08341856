"""``pertharness check``: the conformance kit on an installed plugin."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from pertharness.host.cli.streams import echo


@click.command(short_help="Hold a plugin against the conformance kit.")
@click.argument("plugin")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True),
              help="Seconds that one check may take (default: 30; 900 of a model that is not cheap).")  # fmt: skip
@click.option("--memory", "memory_mb", type=click.FloatRange(min=0, min_open=True), help="MB that the plugin may use.")
@click.option("--verbose", "-v", is_flag=True, help="Say of each check what it promises.")
def check(plugin: str, timeout_s: float | None, memory_mb: float | None, verbose: bool) -> None:
    """Check PLUGIN, the name of an installed plugin or of its module, in its own interpreter on planted data.

    One line per check: ok, FAILED with the reason, or skipped with the reason. Exit status 1 if one failed.
    """
    from pertharness.host.conformance import Limits, check_plugin, count
    from pertharness.host.store import Store

    tried = []
    with tempfile.TemporaryDirectory(prefix="pertharness-check-") as folder:
        for one in check_plugin(plugin, Store.open(Path(folder) / "store"), Limits(timeout_s, memory_mb)):
            tried.append(one)
            said = one.message or (one.check.promise if verbose else "")
            echo(f"{one.verdict:8} {one.check.id}" + (f"\n         {said}" if said else ""))
    counts = count(tried)
    echo(", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number))
    if counts["FAILED"]:
        sys.exit(1)
