"""What a command does when its output is closed, full, or no longer read: no traceback, and a status that fits."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

PERTHARNESS = str(Path(sys.executable).with_name("pertharness"))
# What is printed by click while it reads the options, by a command, by rich, and by the csv module.
COMMANDS = {
    "help": ["--help"],
    "command": ["list", "runs"],
    "table": ["tables", "few"],
    "rows": ["tables", "few", "genes"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a run of which there is a table and nothing else."""
    (tmp_path / "runs" / "few" / "tables").mkdir(parents=True)
    tables = {"genes": {"rows": 1, "summary": "of genes"}}
    manifest = {"format": 1, "attempts": [], "records": {}, "datasets": {}, "finished": "now", "tables": tables}
    text = json.dumps(manifest)
    (tmp_path / "runs" / "few" / "manifest.json").write_text(text, encoding="utf-8")
    (tmp_path / "runs" / "few" / "tables" / "genes.csv").write_text("dataset,gene\na,b\n", encoding="utf-8")
    return tmp_path


def shell(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in which "$@" is the command."""
    environment = {**os.environ, "PERTHARNESS_STORE": str(folder / "store")}
    done = subprocess.run(
        ["bash", "-c", script, "bash", PERTHARNESS, *arguments], cwd=folder, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    assert "bug in pertharness" not in done.stderr
    return done


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_is_gone_ends_a_command_in_silence_as_it_ends_cat(name: str, folder: Path) -> None:
    # The reader is gone before the command starts to print.
    script = 'exec 9> >(exec true); wait $!; "$@" >&9; echo $?'
    done = shell(script, folder, *COMMANDS[name])
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_output_that_takes_no_more_is_an_error_with_words(name: str, folder: Path) -> None:
    done = shell('"$@" > /dev/full', folder, *COMMANDS[name])
    assert done.returncode == 1
    assert done.stderr == "error: the disk is full; free some disk space and rerun the same command\n"


def test_a_limit_on_the_size_of_files_is_named(folder: Path) -> None:
    done = shell('ulimit -f 0; "$@" > out.txt', folder, *COMMANDS["rows"])
    assert done.returncode == 1
    assert done.stderr.startswith("error: larger than ulimit -f")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_as_the_null_device(closed: str, folder: Path) -> None:
    assert shell(f'"$@" {closed}', folder, *COMMANDS["rows"]).returncode == 0


def test_a_file_that_is_written_is_not_taken_for_closed_output(folder: Path) -> None:
    """What is opened first would become descriptor 1, and get what the command prints."""
    done = shell('"$@" >&- 2>&-', folder, "new", "mine")
    assert done.returncode == 0
    assert "wrote" not in "".join(path.read_text() for path in (folder / "pertharness-mine").rglob("*.*"))


@pytest.mark.parametrize("where", ["/dev/full", "&-"])
def test_the_status_of_a_mistake_stays_where_its_words_cannot_be_said(where: str, folder: Path) -> None:
    assert shell(f'"$@" 2>{where}', folder, "rnu").returncode == 2
    assert shell(f'"$@" 2>{where}', folder, "show", "0123").returncode == 1


def test_a_run_whose_files_may_not_grow_says_why(folder: Path) -> None:
    done = subprocess.run(
        [PERTHARNESS, "new", "mine"], cwd=folder, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )  # fmt: skip
    assert done.returncode == 1
    assert "larger than ulimit -f" in done.stderr


RECIPE = """
name = "few"
seeds = [1]
models = ["mean"]
scorers = ["l2"]
datasets.demo.params = { n_genes = 60, n_singles = 6, n_doubles = 6, n_controls = 20, n_cells = 5 }

[[tasks]]
split = { kind = "double" }
"""
FILES = {"leaderboard.csv", "manifest.json", "recipe.toml", "scores.csv.gz"}


@pytest.mark.parametrize("display", ["plain lines", "a live bar"])
def test_a_run_goes_on_to_its_end_where_its_display_cannot_be_written(display: str, folder: Path) -> None:
    (folder / "few.toml").write_text(RECIPE, encoding="utf-8")
    live = "FORCE_COLOR=1 " if display == "a live bar" else ""
    done = shell(f'{live}"$@" 2>/dev/full', folder, "run", "few.toml", "--out", "out")
    assert done.returncode == 0
    assert {path.name for path in (folder / "out").iterdir()} >= FILES
    assert "written to out" in done.stdout
    (folder / "few.toml").write_text(RECIPE.replace("n_genes = 60", "n_genes = 40"), encoding="utf-8")
    assert shell(f'{live}"$@" 2>/dev/full', folder, "run", "few.toml", "--out", "out").returncode == 1
    manifest = json.loads((folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    del manifest["files"]  # so that verify says what it cannot compare
    (folder / "out" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    done = shell(f'{live}"$@" 2>/dev/full', folder, "verify", "out")
    assert (done.returncode, done.stdout.partition(";")[0]) == (0, "no differences")


def test_a_run_goes_on_to_its_end_when_its_terminal_is_gone(folder: Path) -> None:
    (folder / "few.toml").write_text(RECIPE, encoding="utf-8")
    ours, theirs = os.openpty()
    environment = {**os.environ, "PERTHARNESS_STORE": str(folder / "store"), "TERM": "xterm"}
    running = subprocess.Popen(
        [PERTHARNESS, "run", "few.toml", "--out", "out"], cwd=folder, env=environment, stdout=subprocess.DEVNULL,
        stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    assert running.wait() == 0
    assert {path.name for path in (folder / "out").iterdir()} >= FILES


@pytest.mark.parametrize("where", ["/dev/full", "/dev/null"])
def test_a_fetch_goes_on_where_its_progress_cannot_be_written(where: str, folder: Path) -> None:
    code = (
        "from pertharness.host.cli.fetching import shown_progress\n"
        "with shown_progress('few') as progress:\n    for done in range(11):\n        progress(done, 10)\n"
        "print('fetched')"
    )
    done = subprocess.run(
        ["bash", "-c", f'"$@" 2>{where}', "bash", sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "fetched\n")
