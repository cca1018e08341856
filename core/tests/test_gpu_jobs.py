"""What jobs on a GPU keep, tried without one: the grants, and a process that has these alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pertharness.contract.jobs import Job, PluginRef, Stage
from pertharness.host.execution.batch import Batch, Launch
from pertharness.host.execution.kinds import is_forked
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.sandbox import base_grants, gpu_grants, job_grants
from pertharness.worker.landlock import abi_version

HERE = Path(sys.executable)
NAMES_A_THREAD = """
import json, sys, threading
from pathlib import Path
from pertharness.worker.landlock import Grants, abi_version, restrict
restrict(Grants(**json.loads(sys.argv[1])), abi_version())
def name():  # as CUDA does for each of its threads
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("cuda00")
thread = threading.Thread(target=name)
threading.excepthook = lambda args: print(repr(args.exc_value))
thread.start()
thread.join()
"""


def job(stage: Stage = "predictions", device: str = "cuda") -> Job:
    return Job(key="k", stage=stage, plugin=PluginRef(name="m", module="m", version="1"), device=device)


def test_a_job_on_a_gpu_keeps_what_cuda_needs(tmp_path: Path) -> None:
    launch = Launch(job=job(), folder=tmp_path)
    assert launch.uses_gpu
    base = base_grants(HERE)
    grants = job_grants(launch, base, cuda=launch.uses_gpu, shared_memory=launch.is_confined)
    nvidia = {str(path) for path in Path("/dev").glob("nvidia*")}
    assert {*nvidia, "/proc/self", "/dev/dri", "/dev/null"} <= set(grants.devices)
    assert "/dev/shm" in grants.write
    assert {"/proc/driver", "/proc/devices", "/proc/sys", "/sys", "/usr", "/etc"} <= set(grants.read)
    without = job_grants(launch, base, cuda=False, shared_memory=True)
    assert not [path for path in without.devices if path.startswith(("/dev/nvidia", "/proc"))]


@pytest.mark.skipif(not abi_version(), reason="this kernel has no Landlock")
def test_only_a_job_on_a_gpu_may_name_its_threads() -> None:
    base = base_grants(HERE)

    def printed_with(grants: object) -> str:
        command = [HERE, "-c", NAMES_A_THREAD, json.dumps(vars(grants))]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert printed_with(base + gpu_grants()) == ""
    assert "PermissionError" in printed_with(base)


def test_what_may_use_a_gpu_starts_an_interpreter_of_its_own() -> None:
    cheap = Node(job=job(device="cpu"), python=HERE, title="m", cheap=True)
    linux = sys.platform == "linux"
    assert is_forked(cheap, "landlock") == is_forked(cheap, "none") == linux
    assert not is_forked(cheap, "bwrap")
    assert not is_forked(replace(cheap, job=job(device="cuda:0")), "landlock")
    assert not is_forked(replace(cheap, shares_process=True), "landlock")
    assert not is_forked(replace(cheap, job=job(device="cpu").model_copy(update={"threads": 2})), "landlock")
    assert is_forked(replace(cheap, job=job("scores")), "landlock") == linux  # scores are the same on any device


def test_jobs_share_a_process_only_where_they_are_told_to() -> None:
    launch = Launch(job=job(), folder=Path("/store/work/k"))
    assert not Batch(kind="k", python=HERE, warm=False, launches=(launch, launch), mechanism="bwrap").shared
