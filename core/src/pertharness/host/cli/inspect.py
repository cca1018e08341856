"""``pertharness list`` and ``pertharness show``: what is installed, and the files behind a number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pertharness.contract.cards import Offer, ParameterHelp
from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import Job, Status
from pertharness.host.cli.shared_options import FILE, store_option
from pertharness.host.cli.streams import echo
from pertharness.host.run.run_folder import read_manifest
from pertharness.host.store.records import JOB, LOG, Store, read_job
from pertharness.host.text.printable import printable

if TYPE_CHECKING:
    from pertharness.host.plugins.registry import Registry


@click.command("list", short_help="List datasets, models, embeddings, scorers, recipes or runs.")
@click.argument("what", type=click.Choice(["datasets", "models", "embeddings", "scorers", "recipes", "runs"]))
@click.option("--folder", type=FILE, default=Path("runs"), show_default=True, help="Folder of the runs.")
@click.option("-v", "--verbose", is_flag=True, help="Show the parameters too, with types, defaults and help.")
def list_(what: str, folder: Path, *, verbose: bool) -> None:
    """List WHAT is installed, or the runs in a folder."""
    from pertharness.host.plugins.registry import open_registry

    if what == "runs":
        rows, parameters = _runs(folder), {}
    else:
        registry = open_registry()
        for problem in registry.problems:
            echo(f"plugin {problem.plugin!r} cannot be used ({problem.state}): {problem.message}", err=True)
        rows = _offers(registry, what)
        parameters = {name: offered.offer for name, offered in getattr(registry, what).items()} if verbose else {}
    if not rows:
        echo(f"no {what}" + (f" in {folder}" if what == "runs" else "; pip install a plugin that offers them"))
    for row, line in zip(rows, columns(rows), strict=True):
        echo(line)
        for more in _parameters(parameters[row[0]]) if row[0] in parameters else ():
            echo(f"    {more}")


def _parameters(offer: Offer) -> list[str]:
    """Return a line per parameter of an offer: name, type, default and help."""
    return columns(
        (name, described.type, "default none" if default is None else f"default {json.dumps(default)}", described.help)
        for name, default in offer.params.items()
        for described in [offer.params_help.get(name) or ParameterHelp()]
    )


def _offers(registry: Registry, kind: str) -> list[tuple[str, ...]]:
    details: dict[str, Callable[..., tuple[str, ...]]] = {
        "datasets": lambda offer: (),
        "models": lambda offer: (",".join(offer.tasks), offer.input),
        "embeddings": lambda offer: (",".join(offer.kinds),),
        "recipes": lambda offer: (",".join(Path(file).stem for file in offer.recipes.values()),),
        "scorers": lambda offer: (",".join(f"{metric.id}({metric.direction})" for metric in offer.metrics),),
    }
    return [
        (
            name, f"{offered.plugin.ref.name} {offered.plugin.ref.version}", *details[kind](offered.offer),
            offered.offer.summary,
        )
        for name, offered in sorted(getattr(registry, kind).items())
    ]  # fmt: skip


def _runs(folder: Path) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for path in sorted(folder.glob("*/manifest.json")):
        try:
            manifest = read_manifest(path.parent)
        except RecipeError:
            rows.append((path.parent.name, "its manifest.json cannot be read", "", ""))
            continue
        models = sorted({attempt["model"] for attempt in manifest["attempts"]})
        rows.append((path.parent.name, manifest["finished"], ",".join(manifest["datasets"]), ",".join(models)))
    return rows


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns; the last cell of a row is not padded."""
    table = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)] if table else []
    return [
        "  ".join([*(c.ljust(w) for c, w in zip(row[:-1], widths, strict=False)), row[-1]]).rstrip() for row in table
    ]


@click.command(short_help="Show a record: its job, how it ended, its log and files.")
@click.argument("key")
@click.option("--log", "whole_log", is_flag=True, help="Print the whole log, not only its end.")
@store_option
def show(key: str, whole_log: bool, store: Path | None) -> None:
    """Show the record whose key starts with KEY: the job, log and files behind a number.

    The keys of a run are in its costs.csv and manifest.json; --dry-run prints them, too.
    """
    records = Store.existing(store)
    stage, full = records.find(key)
    folder = records.record(stage, full)
    job, status = read_job(folder), records.status(stage, full)
    ended = _describe_end(status) if status else [("state", "damaged: made again by the next run that needs it")]
    names = [name for name in (JOB, LOG, *(status.artefacts if status else ())) if (folder / name).exists()]
    files = [("file", str(folder / name)) for name in names]
    for line in columns([("key", full), *_describe_job(job), *ended, *files]):
        echo(line)
    if status and status.traceback:
        echo(f"\n{printable(status.traceback.rstrip(), newlines=True)}")
    _print_log(folder / LOG, whole=whole_log)


def _describe_job(job: Job) -> list[tuple[str, str]]:
    """Return the rows that describe a job."""
    plugin = f"{job.plugin.name} {job.plugin.version}".strip()
    facts = [("stage", job.stage), ("plugin", plugin), ("name", job.name), ("params", json.dumps(job.params))]
    facts.append(("seed", str(job.seed)))
    if task := job.task:
        facts.append(("task", f"{task.dataset}, {task.name}, {task.split_kind}, split seed {task.split_seed}"))
    files = {**job.inputs, **job.references, **job.embeddings}
    return facts + [("reads", f"{role}: {path}") for role, path in files.items()]


def _describe_end(status: Status) -> list[tuple[str, str]]:
    """Return the rows that describe how a job ended."""
    described: list[tuple[str, str]] = [("state", status.state)]
    if status.message:
        described.append(("message", status.message))
    if status.started:
        described.append(("ran", f"{status.started} to {status.finished} on {status.host}, {status.device}"))
    costs = [f"{p.name}: {p.wall_s:.2f} s, {p.cpu_s:.2f} s CPU, {p.peak_rss_mb:.0f} MB" for p in status.phases]
    if status.cost is not None:
        costs.append(
            f"job: {status.cost.wall_s:.2f} s, {status.cost.cpu_s:.2f} s CPU, {status.cost.peak_rss_mb:.0f} MB"
        )
    if status.isolation is not None:
        described.append(("isolation", status.isolation.text()))
        described += [("isolation", f"partial: {gap}") for gap in status.isolation.partial]
    unanswered = [f"{query}: {reason}" for query, reason in status.unanswered.items()]
    for word, lines in (("cost", costs), ("note", status.notes), ("unanswered", unanswered)):
        described += [(word, line) for line in lines]
    return described


def _print_log(path: Path, *, whole: bool, lines: int = 20) -> None:
    if not path.exists() or not path.stat().st_size:
        return
    text = path.read_text(encoding="utf-8", errors="replace").splitlines()
    echo(f"\nlog{'' if whole or len(text) <= lines else f' (last {lines} of {len(text)} lines; --log for all)'}:")
    for line in text if whole else text[-lines:]:
        echo(f"  {printable(line)}")
