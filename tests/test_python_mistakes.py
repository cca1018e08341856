"""Mistakes in calls of `import pertharness`: each is an error of ours that names the argument."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pertharness as ph
import pytest
from command_bench import GENES, pertharness, screen
from door_bench import Door

MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "recipe and data": (lambda: ph.run("r.toml", data="screen.h5ad"), "leave out data, tasks and split"),
    "a screen as recipe": (lambda: ph.run("screen.h5ad"), r"pertharness.run\(data='screen.h5ad'\)"),
    "no recipe": (lambda: ph.run("absent.toml"), "absent.toml"),
    "empty recipe": (lambda: ph.run({}), "names no dataset and no task"),
    "unknown key": (lambda: ph.run({"dataset": {}}), "did you mean 'datasets'"),
    "no file": (lambda: ph.run(data="absent.h5ad"), "no file .*absent.h5ad"),
    "no dataset": (lambda: ph.run(data="dmo"), "did you mean 'demo'"),
    "no data": (lambda: ph.run(data=3), "is int; expected a path, a name or an AnnData"),  # type: ignore[arg-type]
    "no task": (lambda: ph.run(data="screen.h5ad", tasks="dobule"), "did you mean 'double'"),
    "name outside": (lambda: ph.run(data=screen(), name="../x"), "name is '../x'"),
    "no model": (lambda: ph.run(data="screen.h5ad", models="additve"), "did you mean 'additive'"),
    "no state": (lambda: ph.run(data="screen.h5ad", retry="done"), "'done'"),
    "seeds": (lambda: ph.run(data="screen.h5ad", seeds="5-1"), "'5-1'"),
    "device": (lambda: ph.run(data="screen.h5ad", device="gpu"), "expected 'cpu', 'cuda' or 'cuda:N', got 'gpu'"),
    "parameter": (lambda: ph.run(data="screen.h5ad", lable_column="x"), "did you mean 'label_column'"),
    "demo of nothing": (lambda: ph.run(demo=True), "demo=True is for a recipe"),
    "no dataset to load": (lambda: ph.load_dataset("dmo"), "did you mean 'demo'"),
    "no split kind": (lambda: ph.make_split("screen.h5ad", "duble"), "did you mean 'double'"),
    "not canonical": (lambda: ph.make_split(screen(), "double"), "pass it to load_dataset first"),
    "no predictions": (lambda: ph.score("absent.h5ad", "screen.h5ad", "s.json"), "no file 'absent.h5ad'"),
    "no run": (lambda: ph.load_run("sreen"), "did you mean 'screen'"),
    "no run in a folder": (lambda: ph.load_run("runs/sreen"), r"door\d+/runs/sreen' is no run.*did you mean 'screen'"),
    "empty data": (lambda: ph.run(data=[]), "data is empty"),
    "out is a file": (lambda: ph.run(data="screen.h5ad", out="screen.h5ad"), "'.*screen.h5ad' is a file, not a folder"),
    "out is in a file": (
        lambda: ph.predict("additive", "screen.h5ad", UNMEASURED, out="screen.h5ad/x"),
        "'screen.h5ad' is a file",
    ),
    "out is a folder": (lambda: ph.predict("additive", "screen.h5ad", UNMEASURED, out="runs"), "'runs' is a folder"),
    "two screens": (lambda: ph.predict("additive", {"a": "demo", "b": "screen.h5ad"}, "G00"), "are 2 screens"),  # type: ignore[arg-type]
    "two truths": (lambda: ph.score("screen.h5ad", {"a": "demo", "b": "demo"}, "s.json"), "are 2 screens"),  # type: ignore[arg-type]
}
WRONG_TYPES: dict[str, tuple[Callable[[], Any], str]] = {
    "recipe": (lambda: ph.run(3), "recipe is 3; expected a path"),
    "recipe list": (lambda: ph.run(["mean"]), "recipe is .'mean'.; expected a path"),
    "models": (lambda: ph.run(data="screen.h5ad", models=3), "models is 3; expected a text"),
    "model": (lambda: ph.run(data="screen.h5ad", models=["mean", 3]), "models is .'mean', 3.; expected a text"),
    "scorers": (lambda: ph.run(data="screen.h5ad", scorers=[1.5]), "scorers is .1.5.; expected a text"),
    "tasks": (lambda: ph.run(data="screen.h5ad", tasks=3), "tasks is 3; expected a text"),
    "seeds": (lambda: ph.run(data="screen.h5ad", seeds=1.5), "seeds is 1.5; expected whole numbers"),
    "seeds bool": (lambda: ph.run(data="screen.h5ad", seeds=True), "seeds is True; expected whole numbers"),
    "name": (lambda: ph.run(data="screen.h5ad", name=3), "name is 3; expected letters"),
    "split": (lambda: ph.run(data="screen.h5ad", split=3), "split is int; expected the path of a split's JSON"),
    "out": (lambda: ph.run(data="screen.h5ad", out=3), "out is 3; expected a path"),
    "empty out": (lambda: ph.run(data="screen.h5ad", out=""), "out is ''; expected a path"),
    "store": (lambda: ph.run(data="screen.h5ad", store=b"x"), "store is b'x'; expected a path"),
    "empty store": (lambda: ph.load_dataset("screen.h5ad", store=""), "store is ''; expected a path"),
    "data": (lambda: ph.load_dataset(None), "data is None; expected a path"),
    "data list": (lambda: ph.load_dataset(["demo"]), "data is .'demo'.; expected a path"),
    "data of a split": (lambda: ph.make_split(None, "double"), "data is None; expected a path"),
    "model of predict": (lambda: ph.predict(3, "screen.h5ad", "G00"), "model is 3; expected a text"),
    "model record": (lambda: ph.predict(model_record=3, queries="G00"), "model_record is 3; expected a text"),
    "queries": (lambda: ph.predict("mean", "screen.h5ad", 3), "queries is 3; expected a text"),
    "query": (lambda: ph.predict("mean", "screen.h5ad", [3]), "queries is .3.; expected a text"),
    "no split": (lambda: ph.score("screen.h5ad", "screen.h5ad", None), "split is NoneType"),
    "split dict": (lambda: ph.score("screen.h5ad", "screen.h5ad", {"test": []}), "split is dict"),
    "no truth": (lambda: ph.score("screen.h5ad", None, "s.json"), "data are 0 screens; expected one"),
    "run": (lambda: ph.load_run(3), "run is 3; expected a path"),
    "compared run": (lambda: ph.compare("screen", None), "run is None; expected a path"),
    "key": (lambda: ph.load_run("screen").record(3), "key is 3; expected a text"),
}  # type: ignore[arg-type, dict-item, list-item]
UNMEASURED = f"{GENES[2]}+{GENES[0]}"


def records_in(store: Path) -> set[str]:
    return {path.name for path in store.glob("*/*") if path.parent.name != "work"}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named(case: str, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTHARNESS_STORE", str(door.store))
    call, words = MISTAKES[case]
    with pytest.raises(ph.PertharnessError, match=words):
        call()
    assert not (door.folder / "x").exists()


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_a_value_of_another_type_is_named_before_any_job(
    case: str, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERTHARNESS_STORE", str(door.store))
    before = records_in(door.store)
    call, words = WRONG_TYPES[case]
    with pytest.raises(ph.PertharnessError, match=words):
        call()
    assert records_in(door.store) == before


def test_nothing_is_fitted_for_a_file_that_cannot_be_written(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTHARNESS_STORE", str(door.store))
    before = records_in(door.store)
    for case in ("out is in a file", "out is a folder"):
        with pytest.raises(ph.PertharnessError):
            MISTAKES[case][0]()
    asked = ("--model", "additive", "--data", "screen.h5ad", "--queries", UNMEASURED)
    done = pertharness("predict", *asked, "--out", "runs", cwd=door.folder, status=2)
    assert done.stderr == "error: the output 'runs' is a folder; expected the name of a file\n"
    done = pertharness("run", "--data", "screen.h5ad", "--out", "screen.h5ad", cwd=door.folder, status=2)
    assert "'screen.h5ad' is a file, not a folder" in done.stderr
    assert records_in(door.store) == before


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"model": "additve"}, "did you mean 'additive'"),
        ({"model": "additive", "task": "single"}, "no prediction of the model 'additive' .skipped"),
        ({"model": "additive", "task": "double"}, r"choose seed \(one of \[1, 2\]\)"),
        ({"model": "additive", "seed": 9}, r"no seed 9 of the model 'additive'; expected one of \[1, 2\]"),
    ],
)
def test_a_prediction_that_is_not_one_is_named(choice: dict[str, Any], words: str, door: Door) -> None:
    choice = {"seed": 1, **choice} if choice.get("task") == "single" else choice
    with pytest.raises(ph.PertharnessError, match=words):
        door.run.predictions(**choice)


def described(function: Callable[..., Any]) -> dict[str, str]:
    """Return argument -> what the docstring says of it."""
    parts = re.findall(r"^(\w[\w, *]*)\n((?:    .+\n)+)", inspect.getdoc(function) or "", re.MULTILINE)
    return {name: text for names, text in parts for name in names.replace("*", "").split(", ")}


@pytest.mark.parametrize(
    "argument", ["store", "retry", "jobs", "threads", "timeout_s", "memory_mb", "device", "isolation"]
)
def test_an_argument_of_several_functions_means_the_same(argument: str) -> None:
    having = [each for each in (ph.run, ph.predict, ph.score) if argument in inspect.signature(each).parameters]
    assert len(having) >= 2
    parameters = [inspect.signature(function).parameters[argument] for function in having]
    assert len({(each.annotation, each.default, each.kind) for each in parameters}) == 1
    assert len({described(function)[argument] for function in having}) == 1
