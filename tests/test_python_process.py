"""What `import pertharness` does to the process that calls it, and its page and notebook as they stand."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pertharness as ph
import pytest
from door_bench import Door

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "first_screen.ipynb"

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


def test_the_callers_process_stays_as_it_is(door: Door) -> None:
    env = {**os.environ, "PERTHARNESS_STORE": str(door.folder / "fresh-store")}
    done = subprocess.run([sys.executable, "-c", CALLER], cwd=door.folder, capture_output=True, text=True, env=env)
    assert done.stdout == "fine\n", done.stderr
    assert not done.stderr
    assert [path.name for path in (door.folder / "fresh-store" / "work").glob("*.json")] == []


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
import psutil
import pertharness as ph

store = Path("interrupted-store")
few = {"models": "no_change,additive", "scorers": "l2", "seeds": range(1, 9), "out": "runs/again", "progress": False}

def interrupt():
    while not [*store.glob("predictions/*/status.json")]:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    ph.run(data="screen.h5ad", store=store, **few)
except KeyboardInterrupt:
    print("interrupted")
assert not psutil.Process().children(recursive=True)
kept = {path.parent.name: path.stat().st_mtime_ns for path in store.glob("*/*/status.json")}
run = ph.run(data="screen.h5ad", store=store, **few)
assert len(run.states) == 2 and not run.failed, run.states
assert len(kept) < len(run.manifest["records"])
assert kept.items() <= {path.parent.name: path.stat().st_mtime_ns for path in store.glob("*/*/status.json")}.items()
"""


def test_ctrl_c_ends_the_jobs_and_the_same_call_resumes(door: Door) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=door.folder, capture_output=True, text=True)
    assert done.stdout == "interrupted\n", done.stderr
    assert not done.stderr


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


def test_the_page_runs_as_it_stands(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTHARNESS_STORE", str(door.store))
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
