"""What enters a key of a plugin's source and of what it requires."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PathDistribution, distribution, distributions, version
from pathlib import Path

import pertharness
import pytest
from pertharness.contract.errors import PertharnessError
from pertharness.host.packages.fingerprint import environment_hash, plugin_hash, required_versions, worker_hash
from pertharness.host.packages.installed import find_installed

PLANS = """
from pathlib import Path
import pertharness
from pertharness.contract.cards import MetricOffer, ModelOffer, ScorerOffer
from pertharness.datasets import describe
from pertharness.host.execution.local import local_executor
from pertharness.host.plan import build_plan
from pertharness.host.packages.installed import find_installed
from pertharness.host.recipe import Recipe
from pertharness.host.plugins.registry import Offered, Registry
from pertharness.host.store.records import Store
own = find_installed()[0]["datasets"]
model = ModelOffer(name="m", summary="m", tasks=("double",), input="pseudobulk", information="training")
scorer = ScorerOffer(name="s", summary="s", metrics=(MetricOffer(id="l2", direction="lower", best=0.0),))
registry = Registry({"datasets": own}, {one.name: Offered(own, one) for one in describe().datasets})
registry.models["m"], registry.scorers["s"] = Offered(own, model), Offered(own, scorer)
asked = {"datasets": {"demo": {}}, "seeds": [1], "tasks": [{"split": {"kind": "double"}}], "models": ["m"]}
asked |= {"comparison": {"calibrate": True}, "training_seeds": [1, 2]}
plan = build_plan(Recipe.model_validate(asked), registry, Store.open(Path("store")), {}, local_executor(Path("store")))
print(pertharness.__file__, *plan.nodes)
"""
COMPILED = shutil.ignore_patterns("__pycache__")  # which other tests replace at the same time


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
    first = plugin_hash("fingerprinted_plugin", None)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_text("x")
    assert plugin_hash("fingerprinted_plugin", None) == first
    (package / "table.csv").write_text("1")
    assert plugin_hash("fingerprinted_plugin", None) != first
    assert "fingerprinted_plugin" not in sys.modules


def test_modules_of_one_file_and_inside_a_package_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lonely_plugin.py").write_text("a = 1")
    (tmp_path / "parent_package").mkdir()
    (tmp_path / "parent_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "parent_package" / "plugin.py").write_text("a = 1")
    monkeypatch.syspath_prepend(tmp_path)
    assert plugin_hash("lonely_plugin", None) != plugin_hash("parent_package.plugin", None)
    with pytest.raises(PertharnessError, match="'there_is_none'"):
        plugin_hash("there_is_none", None)


@pytest.fixture
def split_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with a plugin whose hooks, work and tables lie in modules apart."""
    site = tmp_path / "site"
    files = {"pkgx/__init__.py": "", "pkgx/hooks.py": "import pkgx.core", "pkgx/core.py": "ALPHA = 0.9",
             "pkgx_more/__init__.py": "", "pkgx_more/deep/work.py": "BETA = 0.9", "pkgx_table.py": "GAMMA = 0.9",
             "another/__init__.py": ""}  # fmt: skip
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    plugin = write_distribution(site, "split_plugin", "1")
    info = Path(str(plugin.locate_file("split_plugin-1.dist-info")))
    (info / "entry_points.txt").write_text("[pertharness]\nsplit = pkgx.hooks\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files if not name.startswith("another")))
    monkeypatch.syspath_prepend(site)
    return site


@pytest.mark.parametrize("name", ["pkgx/core.py", "pkgx/__init__.py", "pkgx_more/deep/work.py", "pkgx_table.py"])
def test_a_change_in_any_module_of_its_distribution_makes_a_plugin_another(name: str, split_plugin: Path) -> None:
    first = find_installed()[0]["split"]
    assert find_installed()[0]["split"] == first
    (split_plugin / "another" / "__init__.py").write_text("a = 1")
    assert find_installed()[0]["split"].in_keys() == first.in_keys()
    (split_plugin / name).write_text("DELTA = 0.1")
    assert find_installed()[0]["split"].in_keys() != first.in_keys()
    assert not {"pkgx", "pkgx.hooks", "pkgx_more"} & {*sys.modules}


def test_a_plugin_is_the_same_wherever_its_files_lie(split_plugin: Path, tmp_path: Path) -> None:
    (here,) = distributions(name="split_plugin", path=[str(split_plugin)])
    shutil.copytree(split_plugin, tmp_path / "elsewhere")
    (there,) = distributions(name="split_plugin", path=[str(tmp_path / "elsewhere")])
    first = plugin_hash("pkgx.hooks", here, [split_plugin])
    assert plugin_hash("pkgx.hooks", there, [tmp_path / "elsewhere"]) == first
    (tmp_path / "elsewhere" / "pkgx_table.py").write_text("GAMMA = 0.1")
    assert plugin_hash("pkgx.hooks", there, [tmp_path / "elsewhere"]) != first


def test_a_plugin_of_one_package_has_the_hash_of_that_package(tmp_path: Path) -> None:
    (tmp_path / "pkgx").mkdir()
    (tmp_path / "pkgx" / "__init__.py").write_text("")
    plugin = write_distribution(tmp_path, "someplugin", "1")
    Path(str(plugin.locate_file("someplugin-1.dist-info/RECORD"))).write_text("pkgx/__init__.py,,\n")
    assert plugin_hash("pkgx", plugin, [tmp_path]) == plugin_hash("pkgx", None, [tmp_path])


def test_of_a_shared_namespace_only_its_own_part_makes_a_plugin_another(tmp_path: Path) -> None:
    for name in ("acme/part/__init__.py", "acme/of_another/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a = 1")
    plugin = write_distribution(tmp_path, "someplugin", "1")
    Path(str(plugin.locate_file("someplugin-1.dist-info/RECORD"))).write_text("acme/part/__init__.py,,\n")
    first = plugin_hash("acme.part.hooks", plugin, [tmp_path])
    (tmp_path / "acme" / "of_another" / "__init__.py").write_text("a = 2")
    assert plugin_hash("acme.part.hooks", plugin, [tmp_path]) == first
    (tmp_path / "acme" / "part" / "work.py").write_text("a = 2")
    assert plugin_hash("acme.part.hooks", plugin, [tmp_path]) != first


def test_what_a_package_reaches_through_links_makes_a_plugin_another(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "work.py").write_text("a = 1")
    (tmp_path / "site" / "pkgx").mkdir(parents=True)
    (tmp_path / "site" / "pkgx" / "__init__.py").write_text("")
    (tmp_path / "site" / "pkgx" / "inner").symlink_to(tmp_path / "shared")
    (tmp_path / "shared" / "loop").symlink_to(tmp_path / "site" / "pkgx")
    first = plugin_hash("pkgx", None, [tmp_path / "site"])
    (tmp_path / "shared" / "work.py").write_text("a = 2")
    assert plugin_hash("pkgx", None, [tmp_path / "site"]) != first


def test_of_the_harness_only_the_module_itself_is_hashed() -> None:
    owner = distribution("pertharness")
    assert (
        plugin_hash("pertharness.datasets", owner)
        == plugin_hash("pertharness.datasets", None)
        != plugin_hash("pertharness", None)
    )


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


def test_what_only_the_host_side_requires_enters_where_a_plugin_requires_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    harness, plain = distribution("pertharness"), write_distribution(site, "someplugin", "1")
    printing = write_distribution(site, "otherplugin", "1", ("rich>=12",))
    monkeypatch.syspath_prepend(site)
    of_a_worker = required_versions(harness)
    assert {"anndata", "numpy", "pandas", "pluggy", "psutil", "pydantic", "scipy"} <= {*of_a_worker}
    assert not {"click", "jinja2", "rich", "tomli-w", "uv"} & {*of_a_worker}
    assert required_versions(plain) == of_a_worker
    assert required_versions(printing)["rich"] == version("rich")


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
    shutil.copytree(Path(pertharness.__file__).parent, package, ignore=COMPILED)
    assert worker_hash(package) == worker_hash()
    with (package / "host" / "execution" / "runner.py").open("a") as file:
        file.write("# a comment\n")
    assert worker_hash(package) == worker_hash()
    with (package / "data" / "halves.py").open("a") as file:
        file.write("# a comment\n")
    assert worker_hash(package) != worker_hash()


def test_a_comment_in_the_harness_alters_no_key(tmp_path: Path) -> None:
    """The plan of a copy of the harness with comments in it, and with a module elsewhere, has the keys of the first."""
    copied = tmp_path / "src" / "pertharness"
    shutil.copytree(Path(pertharness.__file__).parent, copied, ignore=COMPILED)
    for name in (
        "data/halves.py",
        "worker/stages/scores.py",
        "worker/guard.py",
        "datasets/demo.py",
        "host/splits/rules.py",
    ):
        with (copied / name).open("a", encoding="utf-8") as file:
            file.write("# a comment\n")
    (copied / "worker" / "external" / "scale.py").rename(copied / "worker" / "external" / "units.py")

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
