"""The library as a package: its example runs, and the plugins on it agree on one environment."""

from __future__ import annotations

import re
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


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: f"{lock.parent.name}-{lock.stem}")
def test_plugins_on_it_have_one_environment(lock):
    """So that uv links one copy of each package, torch above all, into all of their environments."""
    first = pins(next(other for other in LOCKS if other.name == lock.name))
    own = pins(lock)
    assert "pertharness-foundation" in own
    assert {name: own[name] for name in own.keys() & first.keys() if own[name] != first[name]} == {}
