"""The hardware of a machine, and what it lacks compared with the needs on a card."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from pertharness.contract.cards import Needs

_QUERY = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
_CUDA = re.compile(r"CUDA (?:UMD )?Version\s*:\s*([0-9]+(?:\.[0-9]+)*)")
"""In the header of ``nvidia-smi``; newer drivers name the user-mode driver."""


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes
    ----------
    id
        What ``CUDA_VISIBLE_DEVICES`` calls it.
    memory_gb
        None where the driver does not tell, as of a part of a GPU.
    """

    id: str
    name: str
    memory_gb: float | None


@dataclass(frozen=True)
class Machine:
    """The hardware that jobs can have here.

    Attributes
    ----------
    disk_gb
        Free space where jobs work.
    cuda
        Newest CUDA version that the driver runs; empty where there is none, or it does not tell.
    """

    ram_gb: float
    disk_gb: float
    gpus: tuple[Gpu, ...] = ()
    cuda: str = ""


def read_machine(folder: Path) -> Machine:
    """Return what this machine has; `folder` is where jobs work, or will once it is made."""
    gpus = find_gpus()
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return Machine(
        ram_gb=psutil.virtual_memory().total / 1e9,
        disk_gb=shutil.disk_usage(there).free / 1e9,
        gpus=gpus,
        cuda=_driver_cuda() if gpus else "",
    )


def missing_hardware(needs: Needs, device: str, machine: Machine) -> str | None:
    """Return which needs of a model this machine or the chosen device does not meet; None if it meets all."""
    if needs.ram_gb > machine.ram_gb:
        return f"needs {needs.ram_gb:g} GB of memory; this machine has {machine.ram_gb:.0f} GB"
    if needs.disk_gb > machine.disk_gb:
        return f"needs {needs.disk_gb:g} GB of disk; the store's has {machine.disk_gb:.1f} GB free"
    return _missing_gpu(needs, device, machine) if needs_gpu(needs) else None


def needs_gpu(needs: Needs) -> bool:
    """Return whether a model requires a GPU."""
    return needs.cuda is not None or needs.gpu_memory_gb > 0


def _missing_gpu(needs: Needs, device: str, machine: Machine) -> str | None:
    required = f"a CUDA device with {needs.gpu_memory_gb:g} GB" if needs.gpu_memory_gb else "a CUDA device"
    if not machine.gpus:
        return f"needs {required}; nvidia-smi shows no usable one on this machine"
    if not device.startswith("cuda"):
        return f"needs {required}; the device is {device!r}: use --device cuda"
    chosen = devices_of(device, machine.gpus)
    if not chosen:
        return f"needs {required}; there is no {device!r}, this machine has {len(machine.gpus)}: cuda:0 and so on"
    if not any(fits(gpu, needs.gpu_memory_gb) for gpu in chosen):
        return f"needs {required}; the largest here has {max(gpu.memory_gb or 0.0 for gpu in chosen):.0f} GB"
    if needs.cuda is not None and machine.cuda and _parts(machine.cuda) < _parts(needs.cuda):
        return f"needs CUDA {needs.cuda}; the driver here runs up to {machine.cuda}: update the driver"
    return None


def devices_of(device: str, machine_gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """Return the GPUs that ``cuda`` or ``cuda:N`` means."""
    number = device.removeprefix("cuda").removeprefix(":")
    return machine_gpus[int(number) : int(number) + 1] if number.isdecimal() else machine_gpus


def fits(gpu: Gpu, memory_gb: float) -> bool:
    """Return whether a GPU has this much memory, or its memory is unknown."""
    return gpu.memory_gb is None or gpu.memory_gb >= memory_gb


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))


def find_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that the NVIDIA driver shows, limited to those in ``CUDA_VISIBLE_DEVICES`` if that is set."""
    shown = {}
    rows = [[part.strip() for part in line.split(",")] for line in _output(_QUERY).splitlines()]
    for index, uuid, *name, memory in (row for row in rows if len(row) >= 4):  # else words: "No devices were found"
        gb = float(memory) * 1.048576 / 1000 if memory.replace(".", "", 1).isdecimal() else None  # MiB, or [N/A]
        shown[index] = Gpu(uuid, ",".join(name), gb)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not shown:
        return tuple(shown.values())
    named = []
    for token in (part.strip() for part in visible.split(",")):
        meant = [gpu for index, gpu in shown.items() if token == index or (token and gpu.id.startswith(token))]
        if not meant and not token.startswith("MIG-"):
            break  # like CUDA: names after an unknown one are ignored
        # The user's own name for it: CUDA may number GPUs in another order than nvidia-smi.
        named.append(Gpu(token, meant[0].name, meant[0].memory_gb) if meant else Gpu(token, "part of a GPU", None))
    return tuple(named)


def _driver_cuda() -> str:
    match = _CUDA.search(_output(["nvidia-smi"]))
    return match[1] if match else ""


def _output(command: list[str]) -> str:
    """Return the output of a command; empty if there is no driver, or it does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
