"""From a job's folder to its record: nothing but plain files under the names of its stage, whatever lies there."""

import hashlib
import os
import stat
from pathlib import Path

import pytest
from pertharness.host.execution import settle as module
from pertharness.host.execution.batch import Launch
from pertharness.host.execution.settle import End, settle, write_status
from pertharness.host.hashes import identity_of
from pertharness.host.store import read_status
from pertharness.jobs import Claim, Cost, Isolation, Job, PluginRef, Status

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
        (link_elsewhere, "cannot be read"), (second_name, "no plain file with one name"),
        (lambda path, _: os.mkfifo(path), "no plain file"), (lambda path, _: path.mkdir(), "no plain file"),
        (lambda path, _: None, "is not there"),
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
    assert settled(launch).state == "crashed"


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
