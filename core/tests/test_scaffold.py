"""What ``pertharness new`` writes, and what it refuses."""

import ast
import importlib
import subprocess
import sys

import pytest
from click.testing import CliRunner
from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import PluginRef
from pertharness.host.cli.new import new
from pertharness.host.recipe.position import toml
from pertharness.host.scaffold import KINDS, write_plugin
from pertharness.testing.subject import Subject


def declare(folder, name):
    """Write what an installation would, from the project's metadata, beside the package."""
    project = toml.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / "src" / f"pertharness_{name}-{project['version']}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    (info / "METADATA").write_text(
        "\n".join([*lines, *(f"Requires-Dist: {name}" for name in project["dependencies"]), ""])
    )
    (info / "entry_points.txt").write_text(f"[pertharness]\n{name} = pertharness_{name}\n")


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_passes_its_own_tests(kind, tmp_path):
    folder = tmp_path / "a plugin é"
    write_plugin(f"fresh_{kind}", kind, folder)
    declare(folder, f"fresh_{kind}")
    code = f"import sys, pytest; sys.path.insert(0, {str(folder / 'src')!r}); sys.exit(pytest.main(['-q', '-rs']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert [line for line in skipped if "save_model and load_model, which are optional" not in line] == []
    assert bool(skipped) == (kind == "model")


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_offers_what_was_asked_for_under_its_name(kind, tmp_path, monkeypatch):
    name = f"offers_{kind}"
    write_plugin(name, kind, tmp_path / "new")
    monkeypatch.syspath_prepend(tmp_path / "new" / "src")
    importlib.invalidate_caches()
    card = Subject(PluginRef(name=name, module=f"pertharness_{name}", version="0")).card()
    offers = {part: [offer.name for offer in getattr(card, f"{part}s")] for part in KINDS}
    assert offers == {part: [name] if part == kind else [] for part in KINDS}


def test_a_pseudobulk_model_takes_at_most_40_lines(tmp_path):
    write_plugin("short", "model", tmp_path / "new")
    text = (tmp_path / "new" / "src" / "pertharness_short" / "__init__.py").read_text()
    assert len(text.splitlines()) <= 40
    assert {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)} == {
        "describe", "fit", "predict",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My-Model", "perhaps 'my_model'"),
        ("pertharness-gears", "perhaps 'gears'"),
        ("a__b", "perhaps 'a_b'"),
        ("../up", "perhaps 'up'"),
        ("", "expected lower-case letters"),
        ("2fast", "perhaps 'fast'"),
        ("class", "not a Python keyword"),
        ("a" * 41, "at most 40"),
        ("naïve", "expected lower-case letters"),
        ("line\n", "perhaps 'line'"),
        ("baselines", "installed already"),
    ],
)
def test_a_name_that_cannot_be_a_plugins_is_refused_and_nothing_written(name, hint, tmp_path):
    with pytest.raises(RecipeError, match=hint):
        write_plugin(name, "model", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_existing_folder_is_refused_and_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pertharness-my-model").mkdir()
    result = CliRunner().invoke(new, ["my_model"])
    assert isinstance(result.exception, RecipeError)
    assert "already exists" in str(result.exception)
    assert not list((tmp_path / "pertharness-my-model").iterdir())


def test_the_command_says_what_it_wrote_and_what_comes_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(new, ["my_model", "--folder", "a b"])
    assert result.exit_code == 0
    assert (tmp_path / "a b" / "pyproject.toml").is_file()
    assert "pip install -e 'a b' && pertharness check my_model" in result.output
