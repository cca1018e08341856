"""What `import pertharness` offers: runs, data, splits, scores and comparisons without the command line."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pertharness as ph
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "first_screen.ipynb"
PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
GENES = [f"G{i:02d}" for i in range(40)]
SINGLES = GENES[:8]
DOUBLES = [f"{SINGLES[i]}+{SINGLES[(i + 1) % 8]}" for i in range(8)]
FEW = {"models": ["no_change", "additive"], "scorers": "l2", "progress": False}


def screen() -> anndata.AnnData:
    """A screen of means: control, 8 singles and 8 doubles; log1p of counts per 10 000 by construction."""
    rng = np.random.default_rng(3)
    labels = ["ctrl", *[f"{gene}+ctrl" for gene in SINGLES], *DOUBLES]
    effects = {gene: rng.normal(0, 0.4, 40) for gene in SINGLES}
    base = rng.normal(5, 1, 40)
    logs = np.array([base + sum(effects.get(part, np.zeros(40)) for part in label.split("+")) for label in labels])
    rates = np.exp(logs + rng.normal(0, 0.05, logs.shape))
    values = np.log1p(1e4 * rates / rates.sum(axis=1, keepdims=True))
    obs = pd.DataFrame({"condition": labels}, index=[f"row{i}" for i in range(len(labels))])
    return anndata.AnnData(X=values, obs=obs, var=pd.DataFrame(index=GENES))


@dataclass(frozen=True)
class Bench:
    """A folder with a screen, a store, and a run on the screen that was carried out from Python."""

    folder: Path
    run: ph.Run

    @property
    def store(self) -> Path:
        return self.folder / "store"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("door")
    before = Path.cwd()
    os.chdir(folder)
    try:
        screen().write_h5ad("screen.h5ad")
        yield Bench(folder, ph.run(data="screen.h5ad", seeds=[1, 2], store="store", **FEW))
    finally:
        os.chdir(before)


def test_a_run_is_that_of_the_command_line(bench: Bench) -> None:
    asked = ["run", "--data", "screen.h5ad", "--seeds", "1,2", "--models", "no_change,additive", "--scorers", "l2"]
    places = ["--store", "store", "--out", "runs/command"]
    done = subprocess.run([PERTHARNESS, *asked, *places], cwd=bench.folder, capture_output=True, text=True, check=True)
    assert "; 0 of them done now" in done.stdout
    for name in ("leaderboard.csv", "scores.csv.gz", "leaderboard.md", "recipe.toml"):
        assert (bench.run.folder / name).read_bytes() == (bench.folder / "runs" / "command" / name).read_bytes()


def test_its_tables_are_frames(bench: Bench) -> None:
    run = bench.run
    assert run.folder == bench.folder / "runs" / "screen"
    assert {*run.leaderboard["model"]} == {"no_change", "additive"}
    values = run.scores.query("task == 'double' and state == 'done'")["value"]
    assert len(values)
    assert np.isfinite(values).all()
    assert {"wall_s", "peak_rss_mb"} <= {*run.costs.columns}
    assert [*run.tables] == [*json.loads((run.folder / "manifest.json").read_text())["tables"]]
    for name, table in run.tables.items():
        assert len(table) == run.manifest["tables"][name]["rows"]
    assert run.report.is_file()
    assert not run.failed
    assert run.states["done"] > 0
    assert ph.load_run("screen") == run


def test_a_prediction_is_an_anndata(bench: Bench) -> None:
    prediction = bench.run.predictions("additive", task="double", seed=2)
    split = ph.make_split(bench.folder / "screen.h5ad", "double", 2, store=bench.store, progress=False)
    assert [*prediction.obs["perturbation"]] == split.test
    assert [*prediction.var_names] == GENES
    assert prediction.X.dtype == np.float64
    truth = ph.load_dataset("screen.h5ad", store=bench.store, progress=False)
    means = dict(zip(truth.obs["perturbation"], np.asarray(truth.X, dtype=float), strict=True))
    first, second = split.test[0].split("+")
    np.testing.assert_allclose(prediction.X[0], means[first] + means[second] - means["control"], atol=1e-5)


def test_a_run_shows_its_leaderboard_in_a_notebook(bench: Bench) -> None:
    shown = bench.run._repr_html_()
    assert shown.count("<table>") == 2
    assert "<td>additive</td>" in shown
    assert repr(bench.run).startswith("Run('screen' in ")


def test_a_number_leads_to_its_record(bench: Bench) -> None:
    key = bench.run.scores.query("state == 'done'")["record"].iloc[0]
    record = bench.run.record(key[:16])
    assert (record.key, record.stage, record.job.name) == (key, "scores", "l2")
    assert record.status is not None
    assert record.status.state == "done"
    assert record.files["scores.csv"].is_file()


def test_a_dataset_comes_in_the_canonical_form(bench: Bench) -> None:
    adata = ph.load_dataset("screen.h5ad", store=bench.store, progress=False)
    assert [*adata.obs["perturbation"]][:2] == ["control", SINGLES[0]]
    assert adata.uns["pertharness"]["level"] == "pseudobulk"
    same = ph.load_dataset(screen(), store=bench.store, progress=False)
    np.testing.assert_array_equal(np.asarray(same.X), np.asarray(adata.X))
    small = ph.load_dataset("demo", n_genes=50, n_singles=2, n_doubles=1, n_controls=5, n_cells=3, store=bench.store,
                            progress=False)  # fmt: skip
    assert small.shape[1] == 50
    assert {*small.obs["perturbation"]} > {"control"}


def test_a_split_is_that_of_the_command_line_and_can_be_run(bench: Bench) -> None:
    asked = ["split", "screen.h5ad", "--kind", "double", "--seed", "7", "--out", "split.json", "--store", "store"]
    subprocess.run([PERTHARNESS, *asked], cwd=bench.folder, capture_output=True, check=True)
    adata = ph.load_dataset("screen.h5ad", store=bench.store, progress=False)
    split = ph.make_split(adata, "double", 7)
    assert split.hash == json.loads((bench.folder / "split.json").read_text())["hash"]
    again = ph.load_dataset(adata, store=bench.store, progress=False)
    pd.testing.assert_frame_equal(again.obs, adata.obs)
    np.testing.assert_array_equal(np.asarray(again.X), np.asarray(adata.X))
    run = ph.run(data="screen.h5ad", split=split, out="runs/split", store="store", **FEW)
    assert {*run.scores.query("state == 'done'")["perturbation"]} == {*split.test}


def test_what_is_in_memory_runs_as_its_file_does(bench: Bench) -> None:
    run = ph.run(data={"screen": screen()}, seeds="1-2", out="runs/memory", store="store", **FEW)
    pd.testing.assert_frame_equal(run.leaderboard, bench.run.leaderboard)
    again = ph.run(data={"screen": screen()}, seeds=(1, 2), out="runs/memory", store="store", **FEW)
    assert again.manifest["records"].keys() == run.manifest["records"].keys()


def test_predictions_from_elsewhere_are_scored(bench: Bench) -> None:
    truth = ph.load_dataset("screen.h5ad", store=bench.store, progress=False)
    split = ph.make_split(truth, "double", 1)
    perfect = truth[truth.obs["perturbation"].isin(split.test)].copy()
    bench.run.predictions("additive", task="double", seed=1).write_h5ad("additive.h5ad")
    scores = ph.score(
        {"perfect": perfect, "mine": "additive.h5ad"}, "screen.h5ad", split, scorers="l2", store="store", progress=False
    )
    usual = scores[scores["variant"] == "default"].pivot(index="perturbation", columns="model", values="value")
    assert {*usual.columns} == {"perfect", "mine", "additive"}
    assert {*usual.index} == {*split.test}
    np.testing.assert_allclose(usual["perfect"], 0, atol=1e-5)
    np.testing.assert_array_equal(usual["mine"], usual["additive"])
    alone = ph.score(perfect, truth, split, name="p", scorers="l2", store="store", out="runs/p", progress=False)
    assert {*alone["model"]} == {"p", "additive"}
    assert ph.load_run("p").report.is_file()


def test_two_runs_are_compared(bench: Bench) -> None:
    same = ph.compare(bench.run, bench.run)
    assert same.comparable
    assert not len(same.different_scores)
    assert not len(same.inputs)
    assert not len(same.versions)
    other = ph.run(data="screen.h5ad", seeds=3, out="runs/other", store="store", **FEW)
    compared = ph.compare("screen", other)
    assert not compared.comparable
    assert "screen double: NOT COMPARABLE: other split seeds: 1, 2 against 3" in repr(compared)
    assert compared.scores["difference"].isna().all()
    done = subprocess.run(
        [PERTHARNESS, "compare", "screen", "runs/other"], cwd=bench.folder, capture_output=True, text=True, check=True
    )
    assert "NOT COMPARABLE" in done.stdout
    assert "split screen double seed 3: - | " in done.stdout


def test_runs_with_other_models_are_compared_on_those_of_both(bench: Bench) -> None:
    more = {**FEW, "models": "no_change,mean"}
    other = ph.run(data="screen.h5ad", seeds=[1, 2], out="runs/more", store="store", **more)
    compared = ph.compare(bench.run, other)
    assert compared.comparable
    assert {*compared.compared["model"]} == {"no_change"}
    assert not len(compared.different_scores)
    assert {*compared.inputs["name"]} == {"additive", "mean"}


def test_a_job_that_fails_is_no_exception(bench: Bench) -> None:
    run = ph.run(data="demo", tasks="double", seeds=1, timeout_s=0.001, out="runs/failed", store="other-store", **FEW)
    assert {failure.state for failure in run.failed} == {"timeout"}
    assert any(failure.title == "dataset demo" for failure in run.failed)
    assert "timeout" in run._repr_html_()
    with pytest.raises(ph.DataError, match="timeout"):
        run.predictions("no_change", task="double", seed=1)


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
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named(case: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTHARNESS_STORE", str(bench.store))
    call, words = MISTAKES[case]
    with pytest.raises(ph.PertharnessError, match=words):
        call()
    assert not (bench.folder / "x").exists()


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"model": "additve"}, "did you mean 'additive'"),
        ({"model": "additive", "task": "single"}, "no prediction of the model 'additive' .skipped"),
        ({"model": "additive", "task": "double"}, r"choose seed \(one of \[1, 2\]\)"),
        ({"model": "additive", "seed": 9}, r"no seed 9 of the model 'additive'; expected one of \[1, 2\]"),
    ],
)
def test_a_prediction_that_is_not_one_is_named(choice: dict[str, Any], words: str, bench: Bench) -> None:
    choice = {"seed": 1, **choice} if choice.get("task") == "single" else choice
    with pytest.raises(ph.PertharnessError, match=words):
        bench.run.predictions(**choice)


CALLER = """
import asyncio, os, signal, sys, threading
import pertharness as ph

forks = []
os.register_at_fork(before=lambda: forks.append(1))
numbers = sorted(signal.valid_signals())
handlers, threads = [signal.getsignal(number) for number in numbers], threading.active_count()
results = {}

def carry_out(name):
    few = {"tasks": "double", "models": "no_change", "scorers": "l2", "progress": False}
    results[name] = ph.run(data="screen.h5ad", seeds=5, out=f"runs/{name}", **few).leaderboard

async def in_a_running_loop():
    carry_out("loop")

both = [threading.Thread(target=carry_out, args=(name,)) for name in ("first", "second")]
for thread in both:
    thread.start()
for thread in both:
    thread.join()
asyncio.run(in_a_running_loop())
assert results["first"].equals(results["second"]), "two threads differ"
assert results["first"].equals(results["loop"])
assert len(results["first"]) and results["first"]["value"].notna().any()
assert handlers == [signal.getsignal(number) for number in numbers], "a signal handler is left"
assert threading.active_count() == threads, "a thread is left"
assert not forks, "forked"
plugins = [name for name in sys.modules if name.startswith(("pertharness_", "pertharness.datasets"))]
assert not plugins, plugins
assert not {"click"} & {*sys.modules}
print("fine")
"""


def test_the_callers_process_stays_as_it_is(bench: Bench) -> None:
    env = {**os.environ, "PERTHARNESS_STORE": str(bench.folder / "fresh-store")}
    done = subprocess.run([sys.executable, "-c", CALLER], cwd=bench.folder, capture_output=True, text=True, env=env)
    assert done.stdout == "fine\n", done.stderr
    assert not done.stderr
    assert [path.name for path in (bench.folder / "fresh-store" / "work").glob("*.json")] == []


def test_importing_brings_nothing_heavy() -> None:
    code = (
        "import sys, time; start = time.process_time(); import pertharness; spent = time.process_time() - start\n"
        "heavy = {'anndata', 'click', 'numpy', 'pandas', 'pydantic', 'rich'} & {*sys.modules}\n"
        "print(spent, *heavy, 'run' in dir(pertharness))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    spent, *rest = done.stdout.split()
    assert rest == ["True"]
    assert float(spent) < 0.05


def test_the_page_runs_as_it_stands(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTHARNESS_STORE", str(bench.store))
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "python.md", "exec"), names)
    assert names["comparison"].tasks.set_index("task").loc["double", "reason"] == "other split seeds: 1, 2 against 3"
    assert names["scores"].query("model == 'mine'")["value"].max() < 1e-5
    functions = {function.__name__ for function in map(ph.__getattr__, ph.__all__) if inspect.isfunction(function)
                 and function.__module__.startswith("pertharness.host.api")}  # fmt: skip
    assert functions == {*re.findall(r"^\| .* \| `ph\.(\w+)` \|", text, re.MULTILINE)}


EXECUTE = """
import sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
nbformat.write(notebook, "executed.ipynb")
"""
CELLS = """
import ast, json, sys
cells = [cell for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
names, outputs = {"__name__": "__main__"}, []
for cell in cells:
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    html = value._repr_html_() if hasattr(value, "_repr_html_") else None
    outputs.append({"data": {"text/plain": [repr(value)], **({"text/html": [html]} if html else {})}})
json.dump({"cells": [{"outputs": [output]} for output in outputs]}, open("executed.ipynb", "w", encoding="utf-8"))
"""


def test_a_notebook_goes_from_a_screen_to_a_leaderboard_and_a_prediction(tmp_path: Path) -> None:
    committed = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in committed["cells"])
    by_kernel = importlib.util.find_spec("nbclient") and importlib.util.find_spec("ipykernel")
    env = {**os.environ, "PERTHARNESS_STORE": str(tmp_path / "store"), "JUPYTER_PLATFORM_DIRS": "1"}
    env |= {"IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    command = [sys.executable, "-c", EXECUTE if by_kernel else CELLS, str(NOTEBOOK)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert not done.returncode, done.stderr[-3000:]
    outputs = [
        output.get("data", {})
        for cell in json.loads((tmp_path / "executed.ipynb").read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", ())
    ]
    plain = ["".join(data.get("text/plain", ())) for data in outputs]
    html = ["".join(data.get("text/html", ())) for data in outputs]
    assert any("rank" in page and "<td>additive</td>" in page for page in html)
    if by_kernel:  # the bar stands at its end, and was changed in its place
        assert any(text.startswith("jobs ") and "21/21" in text for text in plain)
    assert any("halfway" in text and "additive" in text for text in plain)
    assert any("additive is itself the reference" in text for page in (plain, html) for text in page)
    assert (tmp_path / "runs" / "screen" / "leaderboard.csv").is_file()
