"""What the machine has, read from a driver's tool that is played by a script, and held against what a card needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pertharness.contract.cards import Needs
from pertharness.host.execution.hardware import Gpu, Machine, find_gpus, missing_hardware, read_machine

TWO = """0, GPU-aaaa, NVIDIA A100, 40960
1, GPU-bbbb, NVIDIA H200, 143771
"""
HEAD = "| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: 12.4     |"
A100, H200 = Gpu("GPU-aaaa", "NVIDIA A100", 42.9), Gpu("GPU-bbbb", "NVIDIA H200", 150.8)
MACHINE = Machine(ram_gb=64, disk_gb=100, gpus=(A100, H200), cuda="12.4")


def play_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, listed: str = TWO, head: str = HEAD) -> None:
    """Put a script called nvidia-smi first on the path."""
    (folder / "list").write_text(listed)
    (folder / "head").write_text(head)
    script = folder / "nvidia-smi"
    script.write_text(f'#!/bin/sh\nif [ -n "$1" ]; then cat {folder}/list; else cat {folder}/head; fi\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_folder_that_is_not_made_yet_has_the_disk_of_the_one_above_it(tmp_path: Path) -> None:
    assert read_machine(tmp_path / "not" / "yet").disk_gb == pytest.approx(read_machine(tmp_path).disk_gb, rel=0.2)


def test_gpus_and_the_drivers_cuda_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_driver(tmp_path, monkeypatch)
    machine = read_machine(tmp_path)
    assert [(gpu.id, gpu.name) for gpu in machine.gpus] == [("GPU-aaaa", "NVIDIA A100"), ("GPU-bbbb", "NVIDIA H200")]
    # 40960 MiB = 40960 * 1.048576 MB = 42.95 GB
    assert machine.gpus[0].memory_gb == pytest.approx(42.95, abs=0.01)
    assert machine.cuda == "12.4"


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", ["1"]), ("1,0", ["1", "0"]), ("GPU-bb", ["GPU-bb"]), ("", []), ("-1", []), ("0,7,1", ["0"]),
        ("MIG-x", ["MIG-x"]),
    ],
)  # fmt: skip
def test_what_the_user_made_visible_is_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    play_driver(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.id for gpu in find_gpus()] == expected


@pytest.mark.parametrize("listed", ["", "No devices were found\n"])
def test_a_driver_without_gpus_shows_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    play_driver(tmp_path, monkeypatch, listed)
    assert find_gpus() == ()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing here"))
    assert find_gpus() == ()


def test_a_gpu_whose_memory_is_not_told_is_large_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_driver(tmp_path, monkeypatch, "0, GPU-c, NVIDIA GB10, [N/A]\n", "CUDA UMD Version: 13.0")
    machine = read_machine(tmp_path)
    assert (machine.gpus[0].memory_gb, machine.cuda) == (None, "13.0")
    assert missing_hardware(Needs(cuda="12.9", gpu_memory_gb=80), "cuda", machine) is None


@pytest.mark.parametrize(
    ("needs", "device", "expected"),
    [
        (Needs(), "cpu", None),
        (Needs(cuda="12.1", gpu_memory_gb=80), "cuda", None),
        (Needs(cuda="12.10"), "cuda", "needs CUDA 12.10; the driver here runs up to 12.4: update the driver"),
        (Needs(gpu_memory_gb=80), "cuda:0", "needs a CUDA device with 80 GB; the largest here has 43 GB"),
        (Needs(gpu_memory_gb=80), "cuda:1", None),
        (Needs(gpu_memory_gb=200), "cuda", "needs a CUDA device with 200 GB; the largest here has 151 GB"),
        (
            Needs(cuda="12.1"),
            "cuda:2",
            "needs a CUDA device; there is no 'cuda:2', this machine has 2: cuda:0 and so on",
        ),
        (Needs(cuda="12.1"), "cpu", "needs a CUDA device; the device is 'cpu': use --device cuda"),
        (Needs(ram_gb=128), "cpu", "needs 128 GB of memory; this machine has 64 GB"),
        (Needs(disk_gb=500), "cpu", "needs 500 GB of disk; the store's has 100.0 GB free"),
    ],
)
def test_what_is_missing_is_said(needs: Needs, device: str, expected: str | None) -> None:
    assert missing_hardware(needs, device, MACHINE) == expected


def test_without_a_gpu_no_option_is_recommended() -> None:
    said = missing_hardware(Needs(cuda="12.1"), "cpu", Machine(ram_gb=64, disk_gb=100))
    assert said == "needs a CUDA device; nvidia-smi shows no usable one on this machine"
