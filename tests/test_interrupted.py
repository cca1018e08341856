"""Runs that are stopped, killed, crowded, or denied a place to write: nothing half stays, and the next one goes on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pertharness.host.store.records import STAGES, read_status

PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
LIMIT_S = 300  # for what takes a second on a machine that is not busy
RECIPE = """
name = "small"
seeds = [1, 2]
scorers = ["l2"]

[datasets.demo]
params = { n_genes = 100, n_singles = 12, n_doubles = 12, n_controls = 40, n_cells = 8 }

[[tasks]]
split = { kind = "double" }

[[tasks]]
split = { kind = "unseen" }
"""


def command(folder: Path, *more: object) -> list[str]:
    asked = ["run", folder / "small.toml", "--store", folder / "store", "--out", folder / "run", "--jobs", 2, *more]
    return [PERTHARNESS, *map(str, asked)]


def finish(folder: Path, *more: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(folder, *more), cwd=folder, capture_output=True, text=True)
    assert done.returncode == status, done.stdout[-1000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr
    return done


def start(folder: Path, *more: object) -> subprocess.Popen[str]:
    # A session of its own, as a terminal gives it; so nothing of it is left when the test ends.
    return subprocess.Popen(
        command(folder, *more), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def tables(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "run" / "leaderboard.csv").read_bytes(), (folder / "run" / "scores.csv.gz").read_bytes()


def records(store: Path) -> list[Path]:
    return [path for stage in STAGES if (store / stage).is_dir() for path in (store / stage).iterdir()]


def assert_no_half_records(store: Path, *states: str) -> None:
    for path in records(store):
        status = read_status(path, path.name)
        assert status is not None, path
        assert status.state in {"done", *states}


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], limit_s: float = LIMIT_S) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "small.toml").write_text(RECIPE, encoding="utf-8")
    finish(folder)
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_stopped_run_leaves_nothing_half_and_goes_on(number: int, folder: Path, undisturbed: Path) -> None:
    process = start(folder)
    wait_for(lambda: (folder / "store" / "splits").is_dir(), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    assert "interrupted; rerun the same command to resume" in err
    assert "Traceback" not in out + err
    kept = len(records(folder / "store"))
    assert_no_half_records(folder / "store")
    assert not (folder / "run" / "leaderboard.csv").exists()
    done_now = int(finish(folder).stdout.split(" of them done now")[0].rsplit(maxsplit=1)[1])
    # Nothing is done twice; of what was being done, a job may have come to its end without anyone to take note.
    assert 0 < done_now <= len(records(undisturbed / "store")) - kept
    assert tables(folder) == tables(undisturbed)


def test_a_stop_comes_even_to_who_asks_twice_in_a_hurry(folder: Path) -> None:
    process = start(folder)
    wait_for(lambda: (folder / "store" / "datasets").is_dir(), process)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert_no_half_records(folder / "store")


def test_a_killed_run_leaves_nothing_half_and_goes_on(folder: Path, undisturbed: Path) -> None:
    for stage in ("work", "datasets", "splits", "predictions"):  # at the first sign of each, and then a moment later
        process = start(folder)
        wait_for(lambda stage=stage: (folder / "store" / stage).is_dir(), process)  # type: ignore[misc]
        time.sleep(0.03)
        process.kill()
        process.communicate(timeout=LIMIT_S)
        assert_no_half_records(folder / "store")
    finish(folder)
    assert tables(folder) == tables(undisturbed)
    assert not any((folder / "store" / "work").iterdir())


def test_two_runs_at_once_share_the_work(folder: Path, undisturbed: Path) -> None:
    processes = [start(folder, "--out", folder / "run"), start(folder, "--out", folder / "other")]
    said = [process.communicate(timeout=LIMIT_S) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert tables(folder) == tables(undisturbed)
    assert (folder / "other" / "leaderboard.csv").read_bytes() == tables(undisturbed)[0]
    fresh = [int(out.split(" of them done now")[0].rsplit(maxsplit=1)[1]) for out, _ in said]
    # Each job was done by one of them.
    assert sum(fresh) == len(records(folder / "store"))


def damage(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("pattern", "spoil"),
    [
        ("predictions/*/prediction.h5ad", damage),
        ("predictions/*/status.json", lambda path: path.write_bytes(b"\xff{garbage")),
        ("datasets/*/pseudobulk.h5ad", Path.unlink),
        ("splits/*/status.json", Path.unlink),
        ("scores/*/scores.csv", damage),
        ("scores/*", shutil.rmtree),
    ],
)
def test_a_damaged_record_is_made_again(
    pattern: str, spoil: Callable[[Path], object], folder: Path, undisturbed: Path
) -> None:
    shutil.copytree(undisturbed / "store", folder / "store")
    spoil(min((folder / "store").glob(pattern)))
    said = finish(folder)
    assert "; 1 of them done now" in said.stdout
    assert tables(folder) == tables(undisturbed)
    assert_no_half_records(folder / "store")


def in_the_way(folder: Path) -> Path:
    (folder / "file").write_text("kept", encoding="utf-8")
    return folder / "file"


@pytest.mark.parametrize(("where", "status"), [("--out", 2), ("--store", 1)])
@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_the_way_is_named_before_anything_runs(where: str, status: int, below: bool, folder: Path) -> None:
    place = in_the_way(folder) / "x" if below else in_the_way(folder)
    done = subprocess.run(
        [*command(folder), where, str(place)], cwd=folder, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == status
    assert str(place) in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "file").read_text(encoding="utf-8") == "kept"
    assert not (folder / "store" / "predictions").exists()


def obey_permissions() -> None:
    """Make root obey permissions, as everyone else does."""
    if os.geteuid() == 0:
        drop_from_bounding_set, override = 24, 1  # PR_CAPBSET_DROP and CAP_DAC_OVERRIDE of Linux
        ctypes.CDLL(None).prctl(drop_from_bounding_set, override, 0, 0, 0)


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="root may write everywhere")
def test_a_store_that_cannot_be_written_still_answers_what_is_in_it(folder: Path, undisturbed: Path) -> None:
    store = folder / "store"
    shutil.copytree(undisturbed / "store", store)
    places = [store, *(path for path in store.rglob("*") if path.is_dir())]
    for place in places:
        place.chmod(0o555)
    asked = {"cwd": folder, "capture_output": True, "text": True, "preexec_fn": obey_permissions}
    try:
        done = subprocess.run(command(folder), **asked)  # type: ignore[call-overload]
        other = subprocess.run(command(folder, "--seeds", "3"), **asked)  # type: ignore[call-overload]
    finally:
        for place in places:
            place.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert tables(folder) == tables(undisturbed)
    assert other.returncode == 1
    assert "permission denied; name a writable store with --store" in other.stderr
    assert "Traceback" not in done.stderr + other.stderr


def test_a_disk_that_is_full_ends_the_run_and_not_its_records(folder: Path, undisturbed: Path) -> None:
    def no_large_files() -> None:
        # Larger files fail to grow as on a full disk, but with EFBIG; SIGXFSZ, which Python ignores, does not end it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

    done = subprocess.run(
        command(folder), cwd=folder, capture_output=True, text=True, preexec_fn=no_large_files
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    finish(folder, "--retry", "failed", "--retry", "crashed")
    assert tables(folder) == tables(undisturbed)


def test_a_full_screen_is_an_error_with_words(undisturbed: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(command(undisturbed), stdout=full, stderr=subprocess.PIPE, text=True, cwd=undisturbed)
    assert done.returncode == 1
    assert "the disk is full" in done.stderr


def test_kills_of_runner_and_workers_at_random_moments_lose_nothing(folder: Path, undisturbed: Path) -> None:
    """Eight times: the runner, or one of its workers, is killed at a moment that nobody chose."""
    chance = random.Random(20260101)
    for _ in range(8):
        process = start(folder, "--retry", "crashed")
        time.sleep(chance.uniform(0.3, 1.6))
        workers = psutil.Process(process.pid).children() if process.poll() is None else []
        if workers and chance.random() < 0.5:
            with contextlib.suppress(psutil.NoSuchProcess):
                chance.choice(workers).kill()
            process.communicate(timeout=LIMIT_S)
            # 2 where it was the worker that reads a plugin's card: its offers are missing, in this run.
            assert process.returncode in (0, 1, 2)
        else:
            process.kill()
            process.communicate(timeout=LIMIT_S)
        assert_no_half_records(folder / "store", "crashed")
    finish(folder, "--retry", "crashed")
    assert tables(folder) == tables(undisturbed)
    assert not any((folder / "store" / "work").iterdir())


@pytest.mark.parametrize("year", [1971, 2099])
def test_clocks_mean_nothing(year: int, folder: Path, undisturbed: Path) -> None:
    """A clock that was set back or forward, a store that was copied: only content counts."""
    shutil.copytree(undisturbed / "store", folder / "store")
    moment = (year - 1970) * 365.25 * 86400
    for path in [folder / "small.toml", *(folder / "store").rglob("*")]:
        os.utime(path, (moment, moment))
    assert "; 0 of them done now" in finish(folder).stdout
    assert tables(folder) == tables(undisturbed)
