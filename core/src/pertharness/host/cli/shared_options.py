"""Options that several commands share, and what they mean for a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pertharness.host.cli.option_groups import READING, headed

FILE = click.Path(path_type=Path)

_DATA = (
    click.option("--label-column", help="Column of obs that names the perturbation; index: the names of the rows."),
    click.option(
        "--control-label",
        multiple=True,
        help="Label of the unperturbed cells, or a pattern such as 'NTC*'; repeatable.",
    ),
    click.option("--label-map", type=FILE, help="CSV of label, targets: genes joined by +, control or drop."),
    click.option("--separator", help="Separator between the targets of a double in the labels; none: there is none."),
    click.option(
        "--guides",
        type=click.Choice(["together", "separate", "none"]),
        help="How to read guides of one gene: as one target, as separate perturbations, or as plain names.",
    ),
    click.option("--context-column", help="Column of obs that names the cell line."),
    click.option("--context", help="Use only the cells of this context."),
    click.option(
        "--only",
        multiple=True,
        metavar="COLUMN=VALUE",
        help="Use only the rows with this value in a column of obs: a dose, a time, a batch; repeatable.",
    ),
    click.option("--pool", multiple=True, metavar="COLUMN", help="Pool the doses, times, ... of a column; repeatable."),
    click.option("--level", type=click.Choice(["cells", "pseudobulk"]), help="What a row is."),
    click.option("--scale", type=click.Choice(["log1p", "counts"]), help="What X holds."),
    click.option("--normalise", is_flag=True, default=None, help="Turn raw counts into log1p of counts per 10 000."),
    click.option(
        "--rescale",
        is_flag=True,
        default=None,
        help="Turn logs of another total or base into log1p of counts per 10 000.",
    ),
    click.option("--gene-column", help="Column of var that names the genes."),
    click.option("--ensembl-column", help="Column of var that holds the Ensembl ids."),
    click.option("--target-column", help="Column of var with the gene names that the labels use."),
    click.option("--layer", help="Layer to read in place of X; raw: adata.raw."),
    click.option("--modality-key", help="Modality of an h5mu file to read, such as rna."),
    click.option("--modality", type=click.Choice(["crispra", "crispri", "ko"]), help="What was done to the targets."),
    click.option("--merge-labels", is_flag=True, default=None, help="Pool rows whose labels name the same targets."),
)

_PLACES = (
    click.option(
        "--store", type=FILE, help="Folder of the records (default: PERTHARNESS_STORE, else the user's data folder)."
    ),
)

_AT_LEAST_ONE = click.IntRange(min=1)
_POSITIVE = click.FloatRange(min=0, min_open=True)
_RETRIED = click.Choice(["failed", "invalid", "timeout", "crashed", "skipped"])

calibrate_option = click.option(
    "--calibrate",
    is_flag=True,
    help="Measure how well half of the cells predicts the other half, and place the models on that scale.",
)

_RUNNING = (
    click.option(
        "--jobs", type=_AT_LEAST_ONE, help="Number of parallel worker processes (default: the number of cores)."
    ),
    click.option("--threads", type=_AT_LEAST_ONE, help="Threads of each job."),
    click.option("--timeout", "timeout_s", type=_POSITIVE, help="Time limit of one job in seconds."),
    click.option("--memory", "memory_mb", type=_POSITIVE, help="Memory limit of one job in MB."),
    click.option("--device", help="Device of the models: cpu, cuda, cuda:1."),
    click.option(
        "--isolation",
        type=click.Choice(["auto", "landlock", "bwrap", "none"]),
        help="Sandbox that keeps models from the truth. auto (the default): Landlock, else bubblewrap; all records are "
        "used. A name: records made under less isolation are made again.",
    ),
    click.option("--retry", multiple=True, type=_RETRIED, help="Rerun the jobs that ended in this state; repeatable."),
)
_OUTPUT = (
    click.option(
        "--verbose", "-v", is_flag=True, help="Print all metrics, the costs and a line per job, not only the bar."
    ),
    click.option("--quiet", "-q", is_flag=True, help="Print only the leaderboard, no bar and no jobs."),
)

data_options = headed(READING, *_DATA)
store_option = headed("Running", *_PLACES)
running_options = headed("Running", *_RUNNING)
output_options = headed("Output", *_OUTPUT)
DATA_FLAGS = (
    "label_column", "control_label", "label_map", "separator", "guides", "target_column", "context_column", "context",
    "only", "pool", "level", "scale", "normalise", "rescale", "gene_column", "ensembl_column", "layer", "modality_key",
    "modality", "merge_labels",
)  # fmt: skip


def data_params(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the options on reading a file from `options` and return them."""
    params = {name: value for name in DATA_FLAGS if (value := options.pop(name, None)) not in (None, ())}
    if isinstance(controls := params.get("control_label"), tuple):
        params["control_label"] = controls[0] if len(controls) == 1 else list(controls)
    if "only" in params:
        params["only"] = _by_column(params["only"])
    if "pool" in params:
        params["pool"] = list(params["pool"])
    if isinstance(label_map := params.get("label_map"), Path):
        params["label_map"] = str(label_map.absolute())
    return params


def _by_column(conditions: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the requested values, by column.

    Raises
    ------
    click.BadParameter
        If one is not of the form COLUMN=VALUE.
    """
    values: dict[str, list[str]] = {}
    for condition in conditions:
        column, equals, value = condition.partition("=")
        if not (column and equals):
            raise click.BadParameter(f"{condition!r} is not of the form COLUMN=VALUE", param_hint="--only")
        values.setdefault(column, []).append(value)
    return values


def loudness(options: dict[str, Any]) -> dict[str, bool]:
    """Remove `verbose` and `quiet` from `options` and return them.

    Raises
    ------
    click.UsageError
        If both were.
    """
    flags = {name: bool(options.pop(name)) for name in ("verbose", "quiet")}
    if all(flags.values()):
        raise click.UsageError("--verbose and --quiet exclude each other: leave out one")
    return flags


def running_resources(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the options on resources from `options` and return them."""
    names = ("jobs", "threads", "timeout_s", "memory_mb", "device", "isolation")
    return {name: value for name in names if (value := options.pop(name, None)) is not None}
