"""``pertharness export``: the predictions of a run as files for other tools."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import click

from pertharness.errors import RecipeError
from pertharness.host.cli.options import FILE, store_option
from pertharness.host.leaderboard.settings import model_label
from pertharness.host.store import Store


@click.command(short_help="Write each model's predictions of a run as h5ad.")
@click.argument("run", type=FILE)
@click.argument("folder", type=FILE)
@store_option
def export(run: Path, folder: Path, store: Path | None) -> None:
    """Write the predictions of RUN (a folder such as runs/demo) to FOLDER, one h5ad per model, task and seed.

    Rows are the answered queries (obs "perturbation"), columns the dataset's genes, X log1p CP10k, float64.
    """
    manifest = read_manifest(run)
    records = Store.open(store or Path(manifest["store"]))
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for attempt in manifest["attempts"]:
        source = records.record("predictions", attempt["prediction"]) / "prediction.h5ad"
        label = model_label(attempt["model"], attempt["params"])
        where = f"{attempt['dataset']} {attempt['task']} seed {attempt['seed']}"
        if not attempt["prediction"] or not source.exists():
            click.echo(f"{label}, {where}: no prediction ({_why(manifest, attempt)})")
            continue
        parts = [attempt["dataset"], attempt["task"], f"seed{attempt['seed']}", attempt["plugin"], label]
        parts += [f"training{attempt['training_seed']}"] if attempt["training_seed"] > 1 else []
        shutil.copyfile(source, folder / (re.sub(r"[^A-Za-z0-9._=+-]+", "_", "-".join(parts)) + ".h5ad"))
        written += 1
    click.echo(f"{written} predictions written to {folder}")


def read_manifest(run: Path) -> dict[str, Any]:
    """Give the manifest of a run's folder.

    Raises
    ------
    RecipeError
        If there is none.
    """
    try:
        manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{str(run)!r} is not the folder of a run ({error}); name one such as runs/demo") from None
    return manifest


def _why(manifest: dict[str, Any], attempt: dict[str, Any]) -> str:
    record = manifest["records"].get(attempt["prediction"], {})
    return str(attempt["reason"]) or f"{record.get('state', 'not there')}: {record.get('message', '')}"
