"""The numbers of the stages: every change of their sources is noticed, and nothing else is."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
COMPILED = shutil.ignore_patterns("__pycache__")  # which other tests replace at the same time


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stage_digests", HERE / "stage_digests.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


stage_digests = load()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of what the digests are made of."""
    shutil.copytree(HERE.parents[1] / "core" / "src", tmp_path / "core" / "src", ignore=COMPILED)
    for plugin in (HERE.parents[1] / "plugins").iterdir():
        if (plugin / "src").is_dir():
            shutil.copytree(plugin / "src", tmp_path / "plugins" / plugin.name / "src", ignore=COMPILED)
    return tmp_path


@pytest.fixture(scope="module")
def before() -> dict[str, dict[str, object]]:
    """The digests of the sources as they are."""
    digests: dict[str, dict[str, object]] = stage_digests.digests()
    return digests


def edit(root: Path, module: str, before: str, after: str) -> None:
    path = root / "core" / "src" / "pertharness" / module
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def changed(root: Path, before: dict[str, dict[str, object]]) -> set[str]:
    after = stage_digests.digests(root)
    return {stage for stage in before if after[stage] != before[stage]}


def test_the_sources_of_every_stage_are_those_that_its_number_was_given_to() -> None:
    known = json.loads(stage_digests.FILE.read_text(encoding="utf-8"))
    problems = stage_digests.differences(known, stage_digests.digests())
    assert not problems, "\n".join(f"stage {stage!r} {what}" for stage, what in problems.items())


def test_comments_docstrings_annotations_and_form_do_not_count(
    sources: Path, before: dict[str, dict[str, object]]
) -> None:
    edit(
        sources,
        "data/halves.py",
        "    few = n_cells < FEWEST_CELLS\n",
        "    # why\n    few = (\n n_cells < FEWEST_CELLS)\n",
    )
    edit(sources, "data/halves.py", '    """Square the values', '    """Raise the values')
    edit(sources, "data/halves.py", "def _square(chunk: Any, start: int) -> Any:", "def _square(chunk, start):")
    edit(
        sources,
        "worker/stages/predictions.py",
        "    labels: dict[str, str] = json.loads(",
        "    labels: dict[str, object] = json.loads(\n        ",
    )
    assert changed(sources, before) == set()


@pytest.mark.parametrize(
    ("module", "old", "new", "stages"),
    [
        ("data/halves.py", "(n_cells[:, None] - 1)", "(n_cells[:, None] - 2)", {"halves"}),
        ("data/halves.py", "FEWEST_CELLS = 2", "FEWEST_CELLS = 3", {"halves"}),
        ("worker/stages/scores.py", "names = [SCORES]", 'names = [SCORES, "x"]', {"scores"}),
        ("worker/external/read.py", "len(numbers) > len(queries)", "len(numbers) < len(queries)", {"predictions"}),
        ("host/splits/rules.py", "VAL_SHARE = 0.1", "VAL_SHARE = 0.2", {"splits"}),
        ("data/halves.py", "import numpy as np", "import cupy as np", {"halves", "predictions", "scores"}),
        ("host/report/page.py", "_LONGEST = 20_000", "_LONGEST = 1", set()),
        ("contract/predictions.py", "float64", "float32", {"cards", "datasets", "embeddings", "predictions", "scores"}),
    ],
)  # fmt: skip
def test_a_change_is_noticed_in_the_stages_that_come_to_it(
    module: str, old: str, new: str, stages: set[str], sources: Path, before: dict[str, dict[str, object]]
) -> None:
    edit(sources, module, old, new)
    assert changed(sources, before) - {"checks"} == stages  # the conformance kit comes to most of them


def test_what_a_field_is_declared_as_counts(sources: Path, before: dict[str, dict[str, object]]) -> None:
    edit(sources, "contract/cards.py", "deterministic: bool", "deterministic: int")
    assert "cards" in changed(sources, before)


def test_a_module_may_move(sources: Path, before: dict[str, dict[str, object]]) -> None:
    package = sources / "core" / "src" / "pertharness"
    (package / "elsewhere").mkdir()
    (package / "worker" / "external" / "read.py").rename(package / "elsewhere" / "given.py")
    edit(sources, "worker/stages/predictions.py", "pertharness.worker.external.read", "pertharness.elsewhere.given")
    assert changed(sources, before) == set()


def test_a_number_that_was_raised_is_taken_up_and_a_change_without_asks() -> None:
    known = {"scores": {"version": 2, "digest": "a"}}
    raised = stage_digests.differences(known, {"scores": {"version": 3, "digest": "b"}})
    same = stage_digests.differences(known, {"scores": {"version": 2, "digest": "b"}})
    lowered = stage_digests.differences(known, {"scores": {"version": 1, "digest": "a"}})
    assert "new number" in raised["scores"]
    assert "--unchanged scores" in same["scores"]
    assert "never used again" in lowered["scores"]
    assert not stage_digests.differences(known, known)


def test_the_command_takes_up_a_digest_only_when_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage_digests, "FILE", tmp_path / "digests.json")
    now = stage_digests.digests()
    other = {**now, "halves": {**now["halves"], "digest": "another"}}
    stage_digests.FILE.write_text(json.dumps(other), encoding="utf-8")
    assert stage_digests.main([]) == 1
    assert "stage 'halves' has changed" in capsys.readouterr().out
    assert json.loads(stage_digests.FILE.read_text(encoding="utf-8")) == other
    assert stage_digests.main(["--unchanged", "halves"]) == 0
    assert json.loads(stage_digests.FILE.read_text(encoding="utf-8")) == now


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_the_digests_are_the_same_on_every_python(version: str) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "--version"], capture_output=True).returncode:
        pytest.skip(f"no Python {version} here")
    code = f"import sys, json; sys.path.insert(0, {str(HERE)!r}); import stage_digests; "
    code += "print(json.dumps(stage_digests.digests()))"
    done = subprocess.run([python, "-I", "-B", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == stage_digests.digests()
