"""Text of plugins, files and other programs is seen on a terminal, never obeyed; names of files are plain."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import Artefact, Job, PluginRef, Status
from pertharness.data.expression import write
from pertharness.files.whole import sha256_file
from pertharness.host.cli.export import export
from pertharness.host.cli.inspect import list_, show
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.run.display import LiveDisplay, PlainDisplay
from pertharness.host.run.run_folder import read_manifest
from pertharness.host.store.records import Store
from rich.console import Console

CLI = Path(__file__).parents[1] / "src" / "pertharness" / "host" / "cli"
EVIL = "a\x1b[31mred\x07\x00\u202eb"
SEEN = r"a\x1b[31mred\x07\x00\u202eb"
KEY = "0123abcd"
JOB = Job(key=KEY, stage="predictions", plugin=PluginRef(name="p", module="p", version=EVIL), name="m")
MODELS = ["../../etc/x", "-rf", ".hidden", "x" * 5000, "x" * 5001, "a/b\\c:*?", EVIL, "é" * 300]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one record whose every text is hostile."""
    made = Store.open(tmp_path / "store")
    record = made.record("predictions", KEY)
    record.mkdir(parents=True)
    prediction = anndata.AnnData(np.ones((1, 2)), obs=pd.DataFrame({"perturbation": ["A"]}, index=["0"]))
    write(prediction, record / "prediction.h5ad")
    path = record / "prediction.h5ad"
    artefact = Artefact(size=path.stat().st_size, sha256=sha256_file(path))
    status = Status(
        key=KEY, state="done", message=EVIL, traceback=f"File x\n  {EVIL}", notes=[EVIL], unanswered={EVIL: EVIL},
        artefacts={"prediction.h5ad": artefact},
    )  # fmt: skip
    (record / "status.json").write_text(status.model_dump_json())
    (record / "job.json").write_text(JOB.model_dump_json())
    (record / "log.txt").write_bytes(EVIL.encode() + b"\xff\n")
    return made


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Path:
    """A run whose models have odd names, and one that was not made."""
    usual = {"dataset": "d", "task": "t", "seed": 1, "training_seed": 1, "plugin": "p", "params": "", "state": "done"}
    attempts = [{**usual, "model": model, "prediction": KEY, "reason": ""} for model in MODELS]
    attempts.append({**usual, "model": EVIL, "prediction": "", "reason": EVIL, "state": "skipped"})
    manifest = {
        "format": 1, "attempts": attempts, "store": str(store.root), "datasets": {"d": "0"}, "finished": EVIL,
        "records": {KEY: {"stage": "predictions", "state": "done", "message": ""}},
    }  # fmt: skip
    (tmp_path / "runs" / "odd").mkdir(parents=True)
    (tmp_path / "runs" / "odd" / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path / "runs" / "odd"


def assert_seen(done: Result) -> None:
    assert done.exception is None, done.exception
    assert SEEN in done.output
    assert not {"\x1b", "\x07", "\x00", "\u202e"} & set(done.output)


@pytest.mark.parametrize("more", [[], ["--log"]])
def test_a_record_is_shown_and_not_obeyed(more: list[str], store: Store) -> None:
    done = CliRunner().invoke(show, [KEY[:4], "--store", str(store.root), *more])
    assert_seen(done)
    assert done.output.count(SEEN) == 7  # version, message, note, unanswered twice, traceback, log


def test_runs_with_odd_texts_are_listed_a_line_each(run: Path) -> None:
    done = CliRunner().invoke(list_, ["runs", "--folder", str(run.parent)])
    assert_seen(done)
    assert len(done.output.splitlines()) == 1


def test_exported_files_have_plain_names_and_none_is_lost(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(export, [str(run), str(tmp_path / "out")])
    assert_seen(done)
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert len(names) == len(MODELS)
    assert all(len(name) < 255 and name.isascii() and not {"/", "\\", ":"} & set(name) for name in names)
    assert len(list(tmp_path.rglob("*.h5ad"))) == len(MODELS) + 1  # and that of the record
    exported = anndata.read_h5ad(tmp_path / "out" / names[0])
    assert [str(reason) for reason in exported.uns["reasons"]] == [EVIL.replace("\0", "\\x00")]


@pytest.mark.parametrize("make", [PlainDisplay, LiveDisplay])
def test_progress_lines_are_seen_and_not_obeyed(make: type[PlainDisplay]) -> None:
    out = io.StringIO()
    display = make(Console(file=out, width=200, color_system=None), 1)
    status = Status(key=KEY, state="failed", notes=[EVIL])
    display.ended(Node(job=JOB, python=Path("python"), title=EVIL), Outcome("failed", EVIL, status, fresh=True))
    assert out.getvalue().splitlines() == [f"[1/1] failed  {SEEN}", f"    {SEEN}", f"    {SEEN}"]


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.name)
def test_commands_print_by_the_function_that_escapes(path: Path) -> None:
    if path.name == "streams.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not {"click.echo", "click.secho"} & set(calls)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "1", "{}", '{"format": 1}', '{"format": 1, "attempts": [1]}', '{"format": 1, "attempts": [{}]}',
        '{"format": 1, "attempts": [], "store": 1}', '{"format": 1, "attempts": {}}', "[" * 100_000, "\x00",
        '{"format": 1, "attempts": [], "tables": 1}', '{"format": 1, "attempts": [], "datasets": 1}',
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_a_damaged_manifest_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RecipeError, match="is not the folder of a run"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "status", "words"),
    [
        ("status.json", b"{", 0, "damaged: made again by the next run"),
        ("status.json", None, 0, "damaged: made again by the next run"),
        ("job.json", b"\xff{", 1, "job.json' cannot be read"),
        ("job.json", None, 1, "job.json' cannot be read"),
        ("log.txt", b"\xff\xfe\x00", 0, "log:"),
    ],
)
def test_a_damaged_record_is_shown_or_named(
    name: str, content: bytes | None, status: int, words: str, store: Store
) -> None:
    path = store.record("predictions", KEY) / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(show, [KEY, "--store", str(store.root)])
    assert words in done.output + str(done.exception)
    assert done.exit_code == status
