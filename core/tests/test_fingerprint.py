"""What enters a key of a plugin's source and of what it requires."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pertharness
import pytest
from pertharness.errors import PertharnessError
from pertharness.host.fingerprint import environment_hash, required_versions, source_hash, worker_hash

PLANS = """
from pathlib import Path
import pertharness
from pertharness.cards import MetricOffer, ModelOffer, ScorerOffer
from pertharness.datasets import describe
from pertharness.host.plan import build_plan
from pertharness.host.plugins import find_installed
from pertharness.host.recipe import Recipe
from pertharness.host.registry import Offered, Registry
from pertharness.host.store import Store
own = find_installed()[0]["datasets"]
model = ModelOffer(name="m", summary="m", tasks=("double",), input="pseudobulk", information="training")
scorer = ScorerOffer(name="s", summary="s", metrics=(MetricOffer(id="l2", direction="lower", best=0.0),))
registry = Registry({"datasets": own}, {one.name: Offered(own, one) for one in describe().datasets})
registry.models["m"], registry.scorers["s"] = Offered(own, model), Offered(own, scorer)
asked = {"datasets": {"demo": {}}, "seeds": [1], "tasks": [{"split": {"kind": "double"}}], "models": ["m"]}
asked |= {"comparison": {"calibrate": True}, "training_seeds": [1, 2]}
plan = build_plan(Recipe.model_validate(asked), registry, Store.open(Path("store")), {})
print(pertharness.__file__, *plan.nodes)
"""


def write_distribution(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> PathDistribution:
    path = folder / f"{name}-{version}.dist-info"
    path.mkdir(parents=True)
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {text}" for text in requires)]
    (path / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
    return PathDistribution(path)


def test_a_changed_file_changes_the_hash_and_a_cache_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "fingerprinted_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    first = source_hash("fingerprinted_plugin")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_text("x")
    assert source_hash("fingerprinted_plugin") == first
    (package / "table.csv").write_text("1")
    assert source_hash("fingerprinted_plugin") != first
    assert "fingerprinted_plugin" not in sys.modules


def test_modules_of_one_file_and_inside_a_package_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lonely_plugin.py").write_text("a = 1")
    (tmp_path / "parent_package").mkdir()
    (tmp_path / "parent_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "parent_package" / "plugin.py").write_text("a = 1")
    monkeypatch.syspath_prepend(tmp_path)
    assert source_hash("lonely_plugin") != source_hash("parent_package.plugin")
    with pytest.raises(PertharnessError, match="'there_is_none'"):
        source_hash("there_is_none")


def test_only_what_a_plugin_requires_enters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    plugin = write_distribution(site, "someplugin", "1", ("somelib>=1", "otherlib; extra == 'plots'"))
    write_distribution(site, "somelib", "1.0")
    monkeypatch.syspath_prepend(site)
    first = environment_hash(required_versions(plugin))
    write_distribution(site, "unrelated", "1")
    write_distribution(site, "otherlib", "1")
    assert environment_hash(required_versions(plugin)) == first
    (site / "somelib-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: somelib\nVersion: 2.0\n")
    assert environment_hash(required_versions(plugin)) != first


def test_metadata_that_was_read_for_another_distribution_gives_the_same_versions() -> None:
    roots = [distribution("pertharness-scorers"), distribution("pertharness-baselines"), distribution("pertharness")]
    known: dict[str, tuple[str, list[str]]] = {}
    for root in (*roots, *roots):
        assert required_versions(root, known) == required_versions(root)
    assert "numpy" in known


def test_packages_and_python_enter_and_the_harness_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = required_versions(distribution("pertharness"))
    assert "numpy" in versions and "pertharness" not in versions
    first = environment_hash(versions)
    assert first == environment_hash(dict(reversed(versions.items())))
    assert first != environment_hash(versions, "3.10.99")
    assert first != environment_hash({**versions, "numpy": "0"})


def test_the_worker_side_is_known_by_all_its_files_and_by_none_of_the_host_side(tmp_path: Path) -> None:
    package = tmp_path / "pertharness"
    shutil.copytree(Path(pertharness.__file__).parent, package)
    assert worker_hash(package) == worker_hash()
    with (package / "host" / "execution" / "runner.py").open("a") as file:
        file.write("# a comment\n")
    assert worker_hash(package) == worker_hash()
    with (package / "halves.py").open("a") as file:
        file.write("# a comment\n")
    assert worker_hash(package) != worker_hash()


def test_a_comment_in_the_harness_alters_no_key(tmp_path: Path) -> None:
    """The plan of a copy of the harness with comments in it, and with a module elsewhere, has the keys of the first."""
    copied = tmp_path / "src" / "pertharness"
    shutil.copytree(Path(pertharness.__file__).parent, copied)
    for name in ("halves.py", "worker/stages.py", "worker/guard.py", "datasets/demo.py", "host/splits/rules.py"):
        with (copied / name).open("a", encoding="utf-8") as file:
            file.write("# a comment\n")
    (copied / "worker" / "external.py").rename(copied / "worker" / "given.py")

    def planned(place: Path) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", PLANS], capture_output=True, text=True, check=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(place)},
        )  # fmt: skip
        where, *keys = done.stdout.split()
        assert Path(where).is_relative_to(place)
        return keys

    first = planned(Path(pertharness.__file__).parents[1])
    assert len(first) == 11  # of two training seeds, with the duplicate and the halves
    assert planned(copied.parent) == first
