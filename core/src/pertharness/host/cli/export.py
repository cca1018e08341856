"""``pertharness export``: the predictions of a run as files for other tools."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import numpy as np

from pertharness.contract.errors import RecipeError, StoreError
from pertharness.contract.stages import PREDICTION
from pertharness.contract.texts import storable
from pertharness.files.whole import sha256_text
from pertharness.host.cli.shared_options import FILE, store_option
from pertharness.host.cli.streams import echo
from pertharness.host.leaderboard.comparison import model_label
from pertharness.host.run.session import MANIFEST_FORMAT as FORMAT
from pertharness.host.store.records import Store
from pertharness.host.text.did_you_mean import expected

_LONGEST = 200
"""Characters of a file's name before its ending; file systems take 255 bytes."""


@click.command(short_help="Write each model's predictions of a run as h5ad.")
@click.argument("run", type=FILE)
@click.argument("folder", type=FILE)
@store_option
def export(run: Path, folder: Path, store: Path | None) -> None:
    """Write the predictions of RUN (a folder such as runs/demo) to FOLDER, one h5ad per model, task and seed.

    Rows are the answered queries (obs "perturbation"), columns the dataset's genes, X log1p CP10k, float64.
    """
    manifest = read_manifest(run)
    records = Store.existing(store or Path(manifest["store"]))
    folder.mkdir(parents=True, exist_ok=True)
    written = gone = 0
    for attempt in manifest["attempts"]:
        source = records.record("predictions", attempt["prediction"]) / PREDICTION
        label = model_label(attempt["model"], attempt["params"])
        where = f"{attempt['dataset']} {attempt['task']} seed {attempt['seed']}"
        state, why = _state(manifest, attempt)
        if state != "done":
            echo(f"{label}, {where}: no prediction ({state}: {why})")
            continue
        if not source.exists():
            echo(f"{label}, {where}: its record is not in the store {str(records.root)!r}", err=True)
            gone += 1
            continue
        parts = [attempt["dataset"], attempt["task"], f"seed{attempt['seed']}", attempt["plugin"], label]
        parts += [f"training{attempt['training_seed']}"] if attempt["training_seed"] > 1 else []
        _export(source, folder / _file_name("-".join(parts)), records, attempt)
        written += 1
    echo(f"{written} prediction{'s' * (written != 1)} written to {folder}")
    if gone:
        raise StoreError(f"predictions that are gone: {gone}; name the run's store with --store, or run it again")


def _file_name(text: str) -> str:
    """Return the name of a file for a prediction: letters that any system takes, and no more than it takes.

    Names that would be too long, or that begin as a hidden file or an option, end in the beginning of a hash of all
    of the text, so that two of them stay two files.
    """
    plain = re.sub(r"[^A-Za-z0-9._=+-]+", "_", text)
    if len(plain) > _LONGEST or plain.startswith((".", "-")):
        plain = f"{plain[:_LONGEST].lstrip('.-')}-{sha256_text(text)[:12]}"
    return f"{plain}.h5ad"


def _export(source: Path, target: Path, records: Store, attempt: dict[str, Any]) -> None:
    """Write a prediction with what it leaves out: ``uns["unanswered"]`` and ``uns["reasons"]``, of equal length."""
    from pertharness.data.expression import read, write

    status = records.status("predictions", attempt["prediction"])
    unanswered = status.unanswered if status else {}
    prediction = read(source)
    prediction.uns = (
        {
            "unanswered": np.array([storable(query) for query in unanswered], dtype=object),
            "reasons": np.array([storable(reason) for reason in unanswered.values()], dtype=object),
        }
        if unanswered
        else {}
    )
    write(prediction, target)


def folder_of_run(run: Path) -> Path:
    """Return the folder of a run that is named by it, or by its name under ``runs``."""
    return run if run.is_dir() else Path("runs") / run


def read_manifest(run: Path) -> dict[str, Any]:
    """Return the manifest of a run's folder.

    Raises
    ------
    RecipeError
        If there is none.
    """
    try:
        manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']!r} of manifest.json, this version reads {FORMAT}")
        if not all({"stage", "state"} <= {*record} for record in manifest["records"].values()):
            raise ValueError("manifest.json names records without stage or state")
        _check_parts(manifest)
    except (FileNotFoundError, NotADirectoryError):
        known = sorted(path.parent.name for path in run.parent.glob("*/manifest.json"))
        what = "is not the folder of a run (it has no manifest.json)" if run.exists() else "is no run"
        raise RecipeError(f"{str(run)!r} {what}; in {str(run.parent)!r}: {expected(run.name, known)}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecipeError(f"{str(run)!r} is not the folder of a run ({error}); name one such as runs/demo") from None
    return manifest


_FIELDS: dict[str, type] = {
    "attempts": list, "datasets": dict, "records": dict, "tables": dict, "store": str, "finished": str,
}  # fmt: skip
_PARTS: dict[str, type] = {
    "dataset": str, "task": str, "seed": int, "training_seed": int, "plugin": str, "model": str, "params": str,
    "prediction": str, "reason": str, "state": str,
}  # fmt: skip
"""What is read of an attempt."""


def _check_parts(manifest: dict[str, Any]) -> None:
    """Raise a ValueError if a manifest is not what a run leaves."""
    for name, kind in _FIELDS.items():
        if not isinstance(manifest.get(name, kind()), kind):
            raise ValueError(f"{name!r} of manifest.json is {manifest[name]!r:.60}")
    for attempt in manifest["attempts"]:
        for name, kind in _PARTS.items():
            if not isinstance(attempt[name], kind):
                raise ValueError(f"{name!r} of an attempt in manifest.json is {attempt[name]!r:.60}")
        record = manifest["records"][attempt["prediction"]] if not attempt["reason"] else attempt | {"message": ""}
        if {"state", "message"} - set(record):
            raise ValueError(f"the record {attempt['prediction']!r:.60} in manifest.json has no state or message")


def _state(manifest: dict[str, Any], attempt: dict[str, Any]) -> tuple[str, str]:
    """Return state and message of an attempt's prediction."""
    if attempt["reason"]:
        return attempt["state"], attempt["reason"]
    record = manifest["records"][attempt["prediction"]]
    return record["state"], record["message"]
