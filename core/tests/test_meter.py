"""The Meter: wall time, CPU time and memory of a hook, of the process and its children."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator

import pluggy
import psutil
import pytest
from pertharness.contract import hookspecs
from pertharness.contract.jobs import Phase
from pertharness.contract.protocol import PROJECT
from pertharness.worker.meter import Meter

PLUGIN = """
import subprocess, sys, time
import pertharness as p

BUSY = "import time; end = time.process_time() + 0.4\\nwhile time.process_time() < end: pass"

def busy():
    exec(BUSY)

def large():
    block = b"1" * 200_000_000
    time.sleep(0.15)

def child(code):
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)

WORK = {"sleeps": lambda: time.sleep(0.3), "busy": busy, "large": large, "busy_child": lambda: child(BUSY),
        "raises": lambda: 1 / 0}

@p.hookimpl
def fit(name):
    WORK[name]()
    return name

@p.hookimpl
def predict(name): return WORK[name]()
@p.hookimpl
def load_dataset(name): return name
@p.hookimpl
def embed(name): return name
@p.hookimpl
def score(name): return name
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    folder = tmp_path_factory.mktemp("meter")
    (folder / "plugin_meter.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import plugin_meter

        yield plugin_meter


def measure(plugin: object, name: str, hook: str = "fit") -> Phase:
    """Call a hook as a worker does and give its one phase, also where it raises."""
    phases: list[Phase] = []
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    manager.register(Meter(phases))
    with contextlib.suppress(ZeroDivisionError):
        arguments = dict.fromkeys(inspect.signature(getattr(hookspecs, hook)).parameters)
        getattr(manager.hook, hook)(**{**arguments, "name": name})
    (phase,) = phases
    return phase


def test_sleeping_costs_wall_time_and_no_cpu_time(plugin: object) -> None:
    phase = measure(plugin, "sleeps")
    assert 0.3 <= phase.wall_s < 60
    assert phase.cpu_s < 0.2


@pytest.mark.parametrize("name", ["busy", "busy_child"])
def test_cpu_time_counts_of_the_process_and_of_its_children(plugin: object, name: str) -> None:
    # 0.4 s each; clock ticks of 10 ms for user, system and children
    assert measure(plugin, name).cpu_s >= 0.35


def test_memory_counts_of_the_process(plugin: object) -> None:
    """200 MB on top of what the process had; a tenth of leeway for what it gave back meanwhile."""
    before = psutil.Process().memory_info().rss / 1e6
    assert measure(plugin, "large").peak_rss_mb >= before + 180


def test_a_hook_that_raises_is_measured_all_the_same(plugin: object) -> None:
    phase = measure(plugin, "raises", "predict")
    assert (phase.name, phase.wall_s >= 0) == ("predict", True)


@pytest.mark.parametrize(
    ("hook", "phase"),
    [("load_dataset", "load"), ("embed", "embed"), ("fit", "fit"), ("predict", "predict"), ("score", "score")],
)
def test_every_hook_that_costs_something_is_a_phase(plugin: object, hook: str, phase: str) -> None:
    measured = measure(plugin, "sleeps", hook)
    assert measured.name == phase
    assert measured.peak_rss_mb > 1
    assert measured.peak_gpu_mb is None  # no plugin imported PyTorch


def test_memory_that_cannot_be_read_ends_no_hook(plugin: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: psutil.Process) -> None:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    phase = measure(plugin, "sleeps")
    assert (phase.name, phase.peak_rss_mb) == ("fit", 0)
