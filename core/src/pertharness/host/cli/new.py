"""``pertharness new``: a plugin package to start from."""

from __future__ import annotations

from pathlib import Path

import click

from pertharness.host.cli.shared_options import FILE
from pertharness.host.cli.streams import echo


@click.command(short_help="Write a plugin package to start from.")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(["model", "scorer", "dataset", "embedding"]), default="model", show_default=True,
    help="What it offers first; a plugin may offer several.",
)  # fmt: skip
@click.option("--folder", type=FILE, help="Where to write it (default: pertharness-NAME).")
def new(name: str, kind: str, folder: Path | None) -> None:
    """Write a plugin NAME: a package that installs, runs and passes its tests, with one small offer to replace."""
    import shlex

    from pertharness.host.scaffold import write_plugin

    target = folder or Path(f"pertharness-{name.replace('_', '-')}")
    for path in write_plugin(name, kind, target):
        echo(f"wrote {path}")
    echo(f"next: pip install -e {shlex.quote(str(target))} && pertharness check {name} && pertharness run --all")
