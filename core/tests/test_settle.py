"""From a job's folder to its record: nothing but plain files under the names of its stage, whatever lies there."""

import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import stat
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from permissions import as_a_user
from pertharness.contract.errors import ContractError
from pertharness.contract.jobs import Claim, Cost, Isolation, Job, PluginRef, Stage, Status
from pertharness.contract.stages import ARTEFACTS
from pertharness.data.embeddings import write_embedding
from pertharness.host.execution import claims as module
from pertharness.host.execution import plain_files
from pertharness.host.execution.batch import Launch
from pertharness.host.execution.inspection import inspect_apart
from pertharness.host.execution.settle import End, settle, write_status
from pertharness.host.execution.tree import children_of
from pertharness.host.store.hashes import identity_of
from pertharness.host.store.records import read_status

END = End(Cost(wall_s=1.0, cpu_s=0.5, peak_rss_mb=10.0), started="2026-01-01T00:00:00+00:00")
CARD = b'{"models": []}'


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Return a job of the stage with the fewest rules, its folder as a worker leaves it that did all right."""
    folder = tmp_path / "work" / "key"
    for name in ("out", "scratch", "home"):
        (folder / name).mkdir(parents=True)
    job = Job(key="key", stage="cards", plugin=PluginRef(name="p", module="p", version="1"))
    (folder / "job.json").write_text(job.model_dump_json())
    (folder / "out" / "card.json").write_bytes(CARD)
    (folder / "out" / "log.txt").write_text("printed\n")
    claim(folder, artefacts=["card.json"])
    return Launch(job=job, folder=folder)


def claim(folder: Path, **fields: object) -> None:
    (folder / "out" / "result.json").write_text(Claim.model_validate({"state": "done", **fields}).model_dump_json())


def settled(launch: Launch, end: End = END, *, others_live: bool = False) -> Status:
    status = settle(launch, end, Isolation(mechanism="landlock"), {"train": "abc"}, others_live=others_live)
    write_status(launch, status)
    return status


@pytest.mark.parametrize("others_live", [False, True])
def test_a_record_is_what_its_files_are(others_live: bool, launch: Launch) -> None:
    status = settled(launch, others_live=others_live)
    card = launch.folder / "card.json"
    assert card.read_bytes() == CARD
    assert status.state == "done"
    assert status.artefacts["card.json"].sha256 == hashlib.sha256(CARD).hexdigest()
    assert status.artefacts["card.json"].size == len(CARD)
    assert status.artefacts["card.json"].identity == identity_of(card.stat())
    assert (status.inputs, status.isolation) == ({"train": "abc"}, Isolation(mechanism="landlock"))
    assert status.cost == END.cost
    assert (launch.folder / "log.txt").read_text() == "printed\n"
    assert read_status(launch.folder, "key") == status


@pytest.mark.parametrize("others_live", [False, True])
def test_what_stays_is_read_only_and_nothing_else_stays(others_live: bool, launch: Launch) -> None:
    (launch.folder / "left.txt").touch()
    (launch.folder / "link").symlink_to("/etc/passwd")
    (launch.folder / "locked").mkdir(mode=0o500)
    settled(launch, others_live=others_live)
    names = {path.name for path in launch.folder.iterdir()}
    assert names == {"card.json", "job.json", "log.txt", "status.json", "scratch"}
    for name in names - {"scratch"}:
        assert stat.S_IMODE((launch.folder / name).stat().st_mode) == 0o444, name
    assert os.access("/etc/passwd", os.R_OK)
    assert Path("/etc/passwd").stat().st_mode & 0o222  # no mode was set through the link


def test_a_file_is_copied_where_somebody_may_still_hold_it_open(launch: Launch) -> None:
    with (launch.folder / "out" / "card.json").open("r+b") as held:
        settled(launch, others_live=True)
        held.write(b"FORGED")
    assert (launch.folder / "card.json").read_bytes() == CARD


def test_the_job_is_what_was_asked_whatever_it_wrote_over_it(launch: Launch) -> None:
    (launch.folder / "job.json").write_text("{}")
    (launch.folder / "status.json").write_text('{"state": "done"}')
    (launch.folder / "card.json").write_text("put there beforehand")
    assert settled(launch).state == "done"
    assert Job.model_validate_json((launch.folder / "job.json").read_bytes()) == launch.job
    assert (launch.folder / "card.json").read_bytes() == CARD


def link_elsewhere(path: Path, tmp_path: Path) -> None:
    (tmp_path / "truth").write_bytes(CARD)
    path.symlink_to(tmp_path / "truth")


def second_name(path: Path, tmp_path: Path) -> None:
    (tmp_path / "truth").write_bytes(CARD)
    path.hardlink_to(tmp_path / "truth")


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (link_elsewhere, "cannot be read"), (second_name, "not a plain file, or has hard links"),
        (lambda path, _: os.mkfifo(path), "not a plain file"), (lambda path, _: path.mkdir(), "not a plain file"),
        (lambda path, _: None, "is missing"),
    ],
    ids=["symbolic link", "hard link", "pipe", "folder", "nothing"],
)  # fmt: skip
@pytest.mark.parametrize("others_live", [False, True])
def test_an_artefact_that_is_no_plain_file_makes_no_record(
    put: object, words: str, others_live: bool, launch: Launch, tmp_path: Path
) -> None:
    card = launch.folder / "out" / "card.json"
    card.unlink()
    put(card, tmp_path)  # type: ignore[operator]
    status = settled(launch, others_live=others_live)
    assert (status.state, status.artefacts) == ("invalid", {})
    assert words in status.message
    assert not (launch.folder / "card.json").exists()


@pytest.mark.parametrize(
    "name", ["../key/out/card.json", "/etc/passwd", "status.json", "card.json.x", "", "card\n.json"]
)
def test_an_artefact_of_another_name_makes_no_record(name: str, launch: Launch) -> None:
    claim(launch.folder, artefacts=["card.json", name])
    status = settled(launch)
    assert (status.state, status.artefacts) == ("invalid", {})
    assert repr(name) in status.message


def test_an_artefact_that_the_stage_needs_is_missed(launch: Launch) -> None:
    claim(launch.folder, artefacts=[])
    status = settled(launch)
    assert status.state == "invalid"
    assert "no artefact 'card.json'" in status.message


@pytest.mark.parametrize("content", ["", "not JSON", '{"state": "excellent"}', '{"state": "done", "sums": {}}'])
def test_a_claim_that_cannot_be_understood_is_none(content: str, launch: Launch) -> None:
    (launch.folder / "out" / "result.json").write_text(content)
    status = settled(launch)
    assert (status.state, status.type) == ("crashed", "NoClaim")
    assert "no readable result" in status.message


@pytest.mark.parametrize("put", [link_elsewhere, second_name, lambda path, _: os.mkfifo(path)])
def test_a_claim_or_a_log_that_is_no_plain_file_is_not_read(put: object, launch: Launch, tmp_path: Path) -> None:
    for name in ("result.json", "log.txt"):
        (launch.folder / "out" / name).unlink()
        (tmp_path / "truth").unlink(missing_ok=True)
        put(launch.folder / "out" / name, tmp_path)  # type: ignore[operator]
    assert settled(launch).state == "crashed"
    assert (launch.folder / "log.txt").read_bytes() == b""


def test_a_claim_is_no_larger_than_can_be_read(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_CLAIM", 100)
    claim(launch.folder, artefacts=["card.json"], notes=["x" * 200])
    assert settled(launch).state == "crashed"


def test_what_was_seen_from_outside_counts_more_than_the_claim(launch: Launch) -> None:
    end = End(END.cost, END.started, "timeout", "Timeout", "not finished after 2 s", output="last words\n")
    status = settled(launch, end)
    assert (status.state, status.type, status.message) == ("timeout", "Timeout", "not finished after 2 s")
    assert status.artefacts == {}
    assert status.log_tail == "printed\nlast words\n"
    assert not (launch.folder / "card.json").exists()


@pytest.mark.parametrize("state", ["failed", "skipped", "invalid"])
def test_a_job_that_is_not_done_leaves_no_artefact(state: str, launch: Launch) -> None:
    claim(launch.folder, state=state, message="why", artefacts=["card.json"])
    status = settled(launch)
    assert (status.state, status.message, status.artefacts) == (state, "why", {})
    assert {path.name for path in launch.folder.iterdir()} == {"job.json", "log.txt", "status.json", "scratch"}


# --- claims that no worker of this version makes


def test_texts_of_a_claim_have_the_form_and_length_of_a_record(launch: Launch) -> None:
    long = "a\0" + "x" * 100_000
    claim(launch.folder, state="failed", notes=[long] * 200, type=long, message=long, traceback=long)
    status = settled(launch)
    assert len(status.notes) == 100
    assert len(status.notes[0]) <= 1000
    assert len(status.type) <= 200
    assert len(status.message) <= 4000
    assert len(status.traceback) <= 40_000
    assert "\0" not in status.type + status.message + status.traceback + status.notes[0]
    assert read_status(launch.folder, "key") == status


@pytest.mark.parametrize("field", ["wall_s", "cpu_s", "peak_rss_mb", "peak_gpu_mb"])
def test_a_cost_that_is_no_number_is_no_claim_and_leaves_a_status_that_can_be_read(field: str, launch: Launch) -> None:
    phase = {"name": "fit", "wall_s": 1.0, "cpu_s": 1.0, "peak_rss_mb": 1.0, field: 12345}
    text = json.dumps({"state": "done", "artefacts": ["card.json"], "phases": [phase]})
    (launch.folder / "out" / "result.json").write_text(text.replace("12345", "1e999"))
    status = settled(launch)
    assert status.state == "crashed"
    assert read_status(launch.folder, "key") == status


def test_phases_are_as_many_and_have_names_as_long_as_can_be(launch: Launch) -> None:
    phase = {"name": "fit" * 100_000, "wall_s": 1.0, "cpu_s": 1.0, "peak_rss_mb": 1.0}
    claim(launch.folder, phases=[{**phase, "name": "fit"}] * (module.MOST_PHASES + 1))
    assert module.read_claim(launch.folder / "out" / "result.json") is None
    claim(launch.folder, artefacts=["card.json"], phases=[phase])
    (short,) = settled(launch).phases
    assert len(short.name) <= 200


def test_queries_without_an_answer_are_those_of_a_prediction(launch: Launch) -> None:
    claim(launch.folder, artefacts=["card.json"], unanswered={"A+B": "why"})
    status = settled(launch)
    assert (status.state, status.unanswered, status.artefacts) == ("invalid", {}, {})


# --- files that are not what they show


def hole(path: Path, size: int = 1 << 43) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(b"{}")
        file.truncate(size)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("others_live", [False, True])
def test_a_file_that_is_all_hole_is_not_read(others_live: bool, launch: Launch) -> None:
    """8 TiB take an hour to hash, and no room on the disk."""
    job = launch.job.model_copy(update={"stage": "halves"})
    hole(launch.folder / "out" / "halves.h5ad")
    claim(launch.folder, artefacts=["halves.h5ad"])
    status = settled(launch.model_copy(update={"job": job}), others_live=others_live)
    assert (status.state, status.artefacts) == ("invalid", {})
    assert "'halves.h5ad' claims 8.0 TiB, but holds only" in status.message


def test_a_file_with_holes_that_holds_enough_is_read(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_files, "SMALL", 1000)
    path = launch.folder / "out" / "card.json"
    hole(path, 3_000_000)
    with path.open("r+b") as file:
        file.seek(1_500_000)
        file.write(b"x" * 10_000)
    assert settled(launch).state == "done"


@pytest.mark.parametrize(
    ("stage", "name"),
    [("cards", "card.json"), ("datasets", "facts.json"), ("splits", "split.json"), ("scores", "scores.csv")],
)
def test_a_text_is_no_longer_than_those_of_its_name(stage: Stage, name: str, launch: Launch) -> None:
    size = {"card.json": 16 << 20, "facts.json": 16 << 20, "split.json": 256 << 20, "scores.csv": 4 << 30}[name]
    for needed in ARTEFACTS[stage].always:
        hole(launch.folder / "out" / needed, size + 1 if needed == name else 2)
    claim(launch.folder, artefacts=list(ARTEFACTS[stage].always))
    status = settled(launch.model_copy(update={"job": launch.job.model_copy(update={"stage": stage})}))
    assert status.state == "invalid"
    assert f"'{name}' holds" in status.message
    assert "expected at most" in status.message


@pytest.mark.timeout(300)
def test_of_a_log_that_is_all_hole_the_beginning_is_kept(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_LOG", 1000)
    hole(launch.folder / "out" / "log.txt")
    settled(launch)
    log = (launch.folder / "log.txt").read_bytes()
    assert log.startswith(b"{}\0\0")
    assert log.endswith(b"\n[pertharness: the log was cut here, it grew too large]\n")
    assert len(log) < 1100


# --- leavings that cannot be read


def test_a_link_in_place_of_the_log_of_a_record_is_not_written_through(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("the user's")
    (launch.folder / "log.txt").symlink_to(tmp_path / "victim")
    settled(launch)
    assert (tmp_path / "victim").read_text() == "the user's"
    assert (launch.folder / "log.txt").read_text() == "printed\n"


@pytest.mark.parametrize("put", [link_elsewhere, lambda path, _: path.touch(), lambda path, _: os.mkfifo(path)])
def test_a_folder_of_a_job_that_is_none_leaves_a_record(put: object, launch: Launch, tmp_path: Path) -> None:
    shutil.rmtree(launch.folder / "out")
    put(launch.folder / "out", tmp_path)  # type: ignore[operator]
    status = settled(launch)
    assert status.state == "crashed"
    assert read_status(launch.folder, "key") == status


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_what_cannot_be_read_is_a_record_in_words() -> None:
    words = as_a_user("""
from pertharness.host.execution.batch import Launch
from pertharness.contract.stages import ARTEFACTS
from pertharness.host.execution.settle import End, settle, write_status
from pertharness.contract.jobs import Cost, Isolation, Job, PluginRef
job = Job(key="key", stage="cards", plugin=PluginRef(name="p", module="p", version="1"))
launch = Launch(job=job, folder=top / "key")
(top / "key" / "out").mkdir(parents=True)
(top / "key" / "out").chmod(0)
os.chown(top / "key" / "out", 1, 1)
end = End(Cost(wall_s=1.0, cpu_s=0.5, peak_rss_mb=10.0), started="")
status = settle(launch, end, Isolation(), {}, others_live=False)
write_status(launch, status)
print(status.state, status.type, status.message)
print((top / "key" / "status.json").read_text() == status.model_dump_json(indent=1))
""")
    assert words.startswith("crashed PermissionError the job's results cannot be read: [Errno 1]")
    assert words.endswith("True\n")


def test_a_full_disk_is_no_record(launch: Launch) -> None:
    """A limit of the process on the length of files, as ``ulimit -f`` sets it, stands for the disk."""
    (launch.folder / "out" / "log.txt").write_text("x" * 10_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            settle(launch, END, Isolation(), {}, others_live=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG


# --- checks in a process of their own


@pytest.fixture
def embedded(launch: Launch) -> Launch:
    """Return a job with an embedding that is as it should be."""
    split = launch.folder / "split.json"
    split.write_text('{"train": ["A"], "val": [], "test": ["A+B"]}')
    write_embedding(pd.DataFrame(np.ones((2, 3)), index=["A", "B"]), launch.folder / "embedding.h5ad")
    job = {"stage": "embeddings", "inputs": {"split": split}, "options": {"kind": "perturbation"}}
    return launch.model_copy(update={"job": launch.job.model_copy(update=job)})


def test_what_is_as_it_should_be_passes_and_what_is_not_is_said(embedded: Launch) -> None:
    inspect_apart(embedded, Claim(state="done"))
    (embedded.folder / "embedding.h5ad").write_bytes(b"\xff")
    with pytest.raises(ContractError, match=r"embedding\.h5ad cannot be read"):
        inspect_apart(embedded, Claim(state="done"))
    assert children_of(os.getpid()) == []


def test_files_of_hdf5_are_checked_in_another_process_than_that_which_settles(embedded: Launch) -> None:
    (embedded.folder / "embedding.h5ad").rename(embedded.folder / "out" / "embedding.h5ad")
    claim(embedded.folder, artefacts=["embedding.h5ad"])
    forks: list[bool] = []
    os.register_at_fork(before=lambda: forks.append(True))
    assert settled(embedded).state == "done"
    assert forks


@pytest.mark.timeout(300)
def test_a_file_that_is_never_read_to_its_end_is_the_jobs_fault(embedded: Launch) -> None:
    (embedded.folder / "embedding.h5ad").unlink()
    os.mkfifo(embedded.folder / "embedding.h5ad")
    with pytest.raises(ContractError, match=r"plugin 'p', embeddings '': the checks took more than 0\.5 s"):
        inspect_apart(embedded, Claim(state="done"), time_s=0.5)
    assert children_of(os.getpid()) == []


@pytest.mark.timeout(300)
def test_a_file_at_which_the_reader_crashes_is_the_jobs_fault(embedded: Launch) -> None:
    (embedded.folder / "embedding.h5ad").unlink()
    os.mkfifo(embedded.folder / "embedding.h5ad")

    def crash() -> None:
        while not (children := children_of(os.getpid())):
            time.sleep(0.01)
        os.kill(children[0], signal.SIGTERM)

    thread = threading.Timer(0.3, crash)
    thread.start()
    with pytest.raises(ContractError, match="the checks were ended by the signal SIGTERM"):
        inspect_apart(embedded, Claim(state="done"))
    thread.join()


def test_a_file_that_takes_more_memory_than_there_is_is_the_jobs_fault(launch: Launch) -> None:
    facts = launch.model_copy(update={"job": launch.job.model_copy(update={"stage": "datasets"})})
    (facts.folder / "facts.json").write_text(" " * 200_000_000 + '{"n_obs": 5, "n_genes": 3}')
    inspect_apart(facts, Claim(state="done"))
    with pytest.raises(ContractError, match="not a file that a worker writes: MemoryError"):
        inspect_apart(facts, Claim(state="done"), memory=100_000_000)
