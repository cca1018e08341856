"""Cards are asked for once, outside of any store, and kept where they can be; without a place for them all goes on."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pertharness
import pytest
from click.testing import CliRunner
from pertharness.contract.cards import Card
from pertharness.contract.jobs import PluginRef
from pertharness.host.cli.doctor import doctor
from pertharness.host.cli.inspect import list_
from pertharness.host.execution.sandbox import find_mechanism
from pertharness.host.packages.installed import Plugin, Problem, find_installed
from pertharness.host.plugins.describe import read_cards
from pertharness.host.store.leases import take_lease
from pertharness.host.store.records import read_status

PLUGIN = """
import pertharness as p
@p.hookimpl
def describe():
    offer = p.ModelOffer(name="model", summary="s", tasks=("double",), input="pseudobulk", information="training")
    return p.Card(models=(offer,))
"""
FAILING = "import pertharness as p\n@p.hookimpl\ndef describe():\n    raise ValueError('no card today')\n"


class Counted:
    """A plugin in an interpreter that counts how often it is started."""

    def __init__(self, folder: Path, text: str) -> None:
        self.starts, self.cache = folder / "starts", folder / "cache"
        (folder / "described.py").write_text(text)
        script = folder / "python"
        code = f"import sys; sys.path.insert(0, {str(folder)!r}); from pertharness.worker.main import main; "
        code += "sys.exit(main(sys.argv[6:]))"
        script.write_text(f'#!/bin/sh\necho >> "{self.starts}"\nexec "{sys.executable}" -W ignore -c "{code}" "$@"\n')
        script.chmod(0o755)
        self.plugin = Plugin(PluginRef(name="described", module="described", version="1"), script, text, "environment")

    def ask(self) -> Card | Problem:
        return read_cards({"described": self.plugin}, isolation="none")["described"]

    @property
    def n_starts(self) -> int:
        return len(self.starts.read_text().splitlines())

    @property
    def kept(self) -> list[Path]:
        return sorted(self.cache.glob("cards/*/card.json"))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTHARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path, PLUGIN)


def models(card: Card | Problem) -> list[str]:
    assert isinstance(card, Card)
    return [offer.name for offer in card.models]


def test_a_card_is_asked_for_once_and_again_after_a_change(counted: Counted) -> None:
    assert [models(counted.ask()) for _ in range(3)] == [["model"]] * 3
    assert counted.n_starts == 1
    assert [path.name for path in counted.cache.iterdir()] == ["cards"]
    counted.plugin = replace(counted.plugin, source="changed")
    assert models(counted.ask()) == ["model"]
    assert (counted.n_starts, len(counted.kept)) == (2, 2)


def test_a_card_that_was_not_read_for_long_is_removed_when_another_is_kept(counted: Counted) -> None:
    def age(days: float) -> None:
        for card in counted.kept:
            os.utime(card.parent, (0, time.time() - days * 86400))

    counted.ask()
    age(days=100)
    counted.ask()  # read, so that it is in use
    age(days=80)
    counted.plugin = replace(counted.plugin, source="changed")
    counted.ask()
    assert len(counted.kept) == 2
    age(days=100)
    counted.ask()
    counted.plugin = replace(counted.plugin, source="changed again")
    counted.ask()
    assert len(counted.kept) == 2  # the one that was read, and the new one
    assert counted.n_starts == 3


@pytest.mark.parametrize("name", ["card.json", "status.json"])
def test_a_card_that_is_not_as_it_was_left_is_asked_for_again(counted: Counted, name: str) -> None:
    counted.ask()
    damaged = counted.kept[0].with_name(name)
    damaged.chmod(0o644)
    damaged.write_text(damaged.read_text().replace("model", "other").replace("done", "lost"))
    assert models(counted.ask()) == ["model"]
    assert models(counted.ask()) == ["model"]
    assert counted.n_starts == 2


def test_another_state_of_the_harness_reads_no_card_of_this_one(tmp_path: Path) -> None:
    copied = tmp_path / "src" / "pertharness"
    shutil.copytree(Path(pertharness.__file__).parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from pertharness.host.plugins.describe import *; from pertharness.host.packages.installed import *\n"
    code += "print(caches_of(find_installed()[0]['baselines']))"
    command, env = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": str(copied.parent)}

    def place() -> str:
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    first = place()
    assert place() == first
    with (copied / "contract" / "cards.py").open("a", encoding="utf-8") as file:
        file.write("# another state\n")
    assert place() != first


def test_a_cache_that_cannot_be_written_is_no_error(counted: Counted) -> None:
    counted.cache.write_text("a file")
    assert [models(counted.ask()) for _ in range(2)] == [["model"]] * 2
    assert counted.n_starts == 2
    assert counted.cache.read_text() == "a file"


def test_a_card_that_could_not_be_had_is_not_kept(tmp_path: Path) -> None:
    counted = Counted(tmp_path, FAILING)
    for _ in range(2):
        problem = counted.ask()
        assert isinstance(problem, Problem)
        assert (problem.plugin, problem.state) == ("described", "failed")
        assert "no card today" in problem.message
    assert (counted.n_starts, counted.kept) == (2, [])


def test_what_a_killed_command_left_goes_away_and_what_another_is_at_stays(counted: Counted) -> None:
    left, busy = counted.cache / "describing-left", counted.cache / "describing-busy"
    for folder in (left, busy):
        (folder / "work").mkdir(parents=True)
    lease = take_lease(busy.with_suffix(".lock"))
    assert lease is not None
    counted.ask()
    assert (left.exists(), busy.exists()) == (False, True)
    lease.release()


@pytest.mark.skipif(find_mechanism("landlock") is None, reason="needs Landlock")
def test_a_card_that_was_made_with_less_isolation_than_is_asked_for_is_made_again(counted: Counted) -> None:
    plugins = {"baselines": find_installed()[0]["baselines"]}
    mechanisms = []
    for isolation in ("none", "auto", "landlock", "none"):
        assert isinstance(read_cards(plugins, isolation=isolation)["baselines"], Card)
        (card,) = counted.kept
        status = read_status(card.parent, card.parent.name)
        assert status is not None
        assert status.isolation is not None
        mechanisms.append(status.isolation.mechanism)
    assert mechanisms == ["none", "none", "landlock", "landlock"]


def test_list_and_doctor_need_no_store_and_make_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTHARNESS_STORE", str(tmp_path / "store"))
    listed = CliRunner().invoke(list_, ["models"])
    assert "additive" in listed.output
    told = CliRunner().invoke(doctor, [])
    assert f"{tmp_path / 'store'}: none yet, the first run makes it" in told.output
    assert not (tmp_path / "store").exists()
