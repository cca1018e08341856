"""The library as a package: its example runs, and the plugins on it agree on one environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = ROOT / "plugins" / "foundation" / "README.md"
LOCKS = [
    lock
    for project in sorted((ROOT / "plugins").glob("*/pyproject.toml"))
    if '"pertharness-foundation>=' in project.read_text(encoding="utf-8")
    for lock in sorted(project.parent.glob("src/*/requirements*.lock"))
]


def pins(lock):
    lines = [line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    return dict(line.split("==") for line in lines if line)


def test_the_example_prints_what_it_says(capsys):
    pytest.importorskip("torch")
    text = README.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```py\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    exec(compile(block, str(README), "exec"), {})
    assert f"It prints `{capsys.readouterr().out.strip()}`" in text


def test_the_readme_names_every_module():
    modules = {path.stem for path in (ROOT / "plugins/foundation/src/pertharness_foundation").glob("[a-z]*.py")}
    rows = re.findall(r"^\| (`.*?) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == modules


def test_parameters_of_the_decoder_are_read_without_scipy():
    """Settings of a model name them, and a card is read often."""
    code = "import sys, pertharness_foundation.decoder; print('scipy' in sys.modules)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cuda.lock"])
def test_plugins_on_it_have_one_environment(name):
    """So that uv links one copy of each package, torch above all, into all of their environments."""
    locks = {lock.parent.name: pins(lock) for lock in LOCKS if lock.name == name}
    # The package that GEARS runs needs older versions of most; torch is the same.
    gears = locks.pop("pertharness_gears")
    versions = {}
    for plugin, pinned in locks.items():
        assert "pertharness-foundation" in pinned, plugin
        for package, version in pinned.items():
            versions.setdefault(package, {}).setdefault(version, []).append(plugin)
    assert {package: plugins for package, plugins in versions.items() if len(plugins) > 1} == {}
    assert {gears["torch"]} == set(versions["torch"])
