"""What this machine has, for what a card says that a model needs."""

from __future__ import annotations

import subprocess

import psutil

from pertharness.cards import Needs


def missing_hardware(needs: Needs, device: str) -> str | None:
    """Say what a model needs and this machine, or the device that was chosen, lacks; None if nothing."""
    ram_gb = psutil.virtual_memory().total / 1e9
    if needs.ram_gb > ram_gb:
        return f"needs {needs.ram_gb:g} GB of memory; this machine has {ram_gb:.0f} GB"
    if needs.cuda is None and not needs.gpu_memory_gb:
        return None
    wanted = f"a CUDA device with {needs.gpu_memory_gb:g} GB" if needs.gpu_memory_gb else "a CUDA device"
    if not device.startswith("cuda"):
        return f"needs {wanted}; the device is {device!r}: use --device cuda"
    largest = max((memory for _, memory in gpus()), default=0.0)
    if not largest:
        return f"needs {wanted}; nvidia-smi shows none on this machine"
    if largest < needs.gpu_memory_gb:
        return f"needs {wanted}; the largest here has {largest:.0f} GB"
    return None


def gpus() -> list[tuple[str, float]]:
    """Give name and memory in GB of each GPU that the NVIDIA driver shows."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # no driver, or one that does not answer
        return []
    rows = [line.rsplit(",", 1) for line in text.splitlines() if "," in line]
    return [(name.strip(), float(memory) * 1.048576 / 1000) for name, memory in rows]
