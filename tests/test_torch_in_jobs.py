"""What torch does beside computing, in a job that must not reach the truth: data loaders with workers, compilers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.environments.folder import open_folder, site_packages
from pertharness.host.execution.caches import CACHES
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.execution.runner import Runner
from pertharness.host.store.records import Store
from pertharness.worker.landlock import abi_version

ROOT = Path(__file__).parents[1]
PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
LOADING = """
import pertharness as p, torch
from torch.utils.data import DataLoader, TensorDataset

@p.hookimpl
def describe():
    data = TensorDataset(torch.arange(1000.0).reshape(-1, 1))
    for method in ("fork", "spawn"):
        loader = DataLoader(data, batch_size=100, num_workers=2, multiprocessing_context=method)
        assert sum(float(batch.sum()) for (batch,) in loader) == 499500.0
    return p.Card()
"""
COMPILING = """
import pertharness as p, torch

@p.hookimpl
def describe():
    function = torch.compile(lambda x: torch.sin(x) + torch.cos(x) ** 2)
    x = torch.linspace(0, 1, 100)
    torch.testing.assert_close(function(x), torch.sin(x) + torch.cos(x) ** 2)
    return p.Card()
"""
pytestmark = [
    pytest.mark.models, pytest.mark.timeout(1800),
    pytest.mark.skipif(not abi_version(), reason="this kernel has no Landlock"),
]  # fmt: skip


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder of packages of the environment of GEARS, which holds torch."""
    done = subprocess.run([PERTHARNESS, "env", "build", f"{ROOT}/plugins/gears"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = open_folder()
    environment = folder.current("gears")
    assert environment is not None
    return site_packages(folder.path_of(environment))


def describe(text: str, packages: Path, folder: Path) -> tuple[Outcome, Path]:
    """Ask a plugin of that text for its card, in a sandbox, and return what came of it and the record."""
    python = packages.parents[2] / "bin" / "python"
    subprocess.run([python, "-m", "venv", "--without-pip", folder / "env"], check=True)
    own = folder / "env" / packages.relative_to(packages.parents[2])
    (own / "gears.pth").write_text(f"{packages}\n")
    (own / "plugin_with_torch.py").write_text(text)
    store = Store.open(folder / "store")
    job = Job(key="card", stage="cards", plugin=PluginRef(name="torch", module="plugin_with_torch", version="1"))
    node = Node(job=job, python=folder / "env" / "bin" / "python", title="card", timeout_s=900)
    executor = local_executor(store.root, isolation="landlock")
    return Runner(store, executor).run([node])["card"], store.record("cards", "card")


def test_a_data_loader_has_workers(packages: Path, tmp_path: Path) -> None:
    outcome, record = describe(LOADING, packages, tmp_path)
    assert outcome.state == "done", outcome.message + (record / "log.txt").read_text()


@pytest.mark.skipif(not shutil.which("c++"), reason="there is no C++ compiler")
def test_what_is_compiled_is_kept(packages: Path, tmp_path: Path) -> None:
    outcome, record = describe(COMPILING, packages, tmp_path)
    assert outcome.state == "done", outcome.message + (record / "log.txt").read_text()
    assert (record / CACHES).stat().st_size > 1000
