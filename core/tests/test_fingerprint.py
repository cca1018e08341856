"""What enters a key of a plugin's source and of what it requires."""

import sys
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest
from pertharness.errors import PertharnessError
from pertharness.host.fingerprint import environment_hash, required_versions, source_hash, worker_hash


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


def test_the_worker_side_enters_and_the_host_side_does_not() -> None:
    import pertharness

    root = Path(pertharness.__file__).parent
    assert len(worker_hash()) == 64
    versions = required_versions(distribution("pertharness"))
    assert environment_hash(versions) == environment_hash(dict(reversed(versions.items())))
    assert environment_hash(versions) != environment_hash(versions, "3.10.99")
    assert (root / "host" / "runner.py").exists()
