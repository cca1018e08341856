"""``pertharness export``: the predictions of a run as files for other tools."""

from __future__ import annotations

import re
from pathlib import Path

import click

from pertharness.contract.errors import StoreError
from pertharness.contract.stages import PREDICTION
from pertharness.files.whole import sha256_text
from pertharness.host.cli.shared_options import FILE, store_option
from pertharness.host.cli.streams import echo
from pertharness.host.leaderboard.comparison import model_label
from pertharness.host.run.read_predictions import read_prediction
from pertharness.host.run.run_folder import read_manifest, state_of
from pertharness.host.store.records import Store

_LONGEST = 200
"""Characters of a file's name before its ending; file systems take 255 bytes."""


@click.command(short_help="Write each model's predictions in a run as h5ad.")
@click.argument("run", type=FILE)
@click.argument("folder", type=FILE)
@store_option
def export(run: Path, folder: Path, store: Path | None) -> None:
    """Write the predictions of RUN (a folder such as runs/demo) to FOLDER, one h5ad per model, task and seed.

    Rows are the answered queries (obs "perturbation"), columns the dataset's genes, X log1p CP10k, float64.
    """
    from pertharness.data.expression import write

    manifest = read_manifest(run)
    records = Store.existing(store or Path(manifest["store"]))
    folder.mkdir(parents=True, exist_ok=True)
    written = gone = 0
    for attempt in manifest["attempts"]:
        source = records.record("predictions", attempt["prediction"]) / PREDICTION
        label = model_label(attempt["model"], attempt["params"])
        where = f"{attempt['dataset']} {attempt['task']} seed {attempt['seed']}"
        state, why = state_of(manifest, attempt)
        if state != "done":
            echo(f"{label}, {where}: no prediction ({state}: {why})")
            continue
        if not source.exists():
            echo(f"{label}, {where}: its record is not in the store {str(records.root)!r}", err=True)
            gone += 1
            continue
        parts = [attempt["dataset"], attempt["task"], f"seed{attempt['seed']}", attempt["plugin"], label]
        parts += [f"training{attempt['training_seed']}"] if attempt["training_seed"] > 1 else []
        write(read_prediction(manifest, attempt, records), folder / _file_name("-".join(parts)))
        written += 1
    echo(f"{written} prediction{'s' * (written != 1)} written to {folder}")
    if gone:
        raise StoreError(f"predictions that no longer exist: {gone}; name the run's store with --store, or rerun it")


def _file_name(text: str) -> str:
    """Return the name of a file for a prediction: letters and a length that any system accepts.

    Names that would be too long, or look like a hidden file or an option, end in a hash of the whole text, so that
    different names stay different.
    """
    plain = re.sub(r"[^A-Za-z0-9._=+-]+", "_", text)
    if len(plain) > _LONGEST or plain.startswith((".", "-")):
        plain = f"{plain[:_LONGEST].lstrip('.-')}-{sha256_text(text)[:12]}"
    return f"{plain}.h5ad"
