"""Fine-tuning: what is kept, when it stops, and that a killed process goes on as if nothing had been."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal

import numpy as np
import pytest
from pertharness import DataError, Skip
from pertharness.files.full_disk import is_disk_full

torch = pytest.importorskip("torch")
from pertharness_foundation.loop import LoopSettings, fine_tune  # noqa: E402


def train(folder, *, epochs=6, patience=None, at_batch=lambda epoch, number: None, validate=True, losses=None, **more):
    """Train a small model with dropout, leftover gradients, a scheduler and generators of three kinds."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
    ours = {
        "torch": torch.Generator().manual_seed(1),
        "legacy": np.random.RandomState(2),
        "numpy": np.random.default_rng(3),
    }
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.9)

    def batches(epoch):
        for number in range(7):
            at_batch(epoch, number)
            x = torch.randn(16, 4, generator=ours["torch"]) + ours["legacy"].normal()
            yield x, x.sum(1, keepdim=True)

    def loss(epoch):
        if losses is not None:
            return losses[epoch]
        assert not module.training
        return float(((module(torch.ones(3, 4)) - 4) ** 2).mean()) + ours["numpy"].normal()

    outcome = fine_tune(
        module, batches=batches, loss_of=lambda batch: ((module(batch[0]) - batch[1]) ** 2).mean(),
        validate=loss if validate else None, optimiser=optimiser, scheduler=scheduler, folder=folder, generators=ours,
        settings=LoopSettings(epochs, patience=patience, accumulate=3, clip_norm=1.0), **more,
    )  # fmt: skip
    return module.state_dict(), outcome


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    weights, outcome = train(tmp_path / "whole")

    def die(epoch, number):
        if (epoch, number) == (3, 4):
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(
        target=train, args=[tmp_path / "killed"], kwargs={"at_batch": die}
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed, after = train(tmp_path / "killed")
    assert after.resumed_after == 3
    assert (after.training, after.validation) == (outcome.training, outcome.validation)
    assert same(weights, resumed)


def test_the_weights_of_the_best_epoch_are_kept(tmp_path):
    weights, outcome = train(tmp_path, losses=[3.0, 1.0, 2.0, 1.0, 1.5, 1.5])
    assert (outcome.best_epoch, outcome.stopped) == (2, False)
    (tmp_path / "short").mkdir()
    two_epochs, _ = train(tmp_path / "short", epochs=2, losses=[3.0, 1.0])
    assert same(weights, two_epochs)


def test_training_stops_after_as_many_worse_epochs_as_the_patience(tmp_path):
    _, outcome = train(tmp_path, patience=2, losses=[3.0, 1.0, 2.0, 1.0, 0.5, 0.5])
    assert (len(outcome.training), outcome.best_epoch, outcome.stopped) == (4, 2, True)
    assert outcome.note() == "trained 4 epochs, stopped early; the weights are those of epoch 2, validation loss 1"


def test_without_validation_the_last_epoch_is_kept(tmp_path):
    _, outcome = train(tmp_path, epochs=2, validate=False)
    assert (outcome.best_epoch, outcome.validation) == (2, ())


def test_a_state_of_another_identity_is_not_taken_up(tmp_path):
    train(tmp_path, epochs=2, identity="one")
    lines = []
    assert train(tmp_path, epochs=2, identity="other", say=lines.append)[1].resumed_after == 0
    assert lines[0] == "the state that an earlier process left is of another training: training from the start"
    assert train(tmp_path, epochs=2, identity="other")[1].resumed_after == 2


@pytest.mark.parametrize("content", [b"", b"half", "truncated"], ids=["empty", "other", "truncated"])
def test_a_state_that_cannot_be_read_is_left_aside(tmp_path, content):
    weights, _ = train(tmp_path, epochs=3)
    state = tmp_path / "training" / "state.pt"
    state.write_bytes(state.read_bytes()[:-200] if content == "truncated" else content)
    lines = []
    again, outcome = train(tmp_path, epochs=3, say=lines.append)
    assert outcome.resumed_after == 0
    assert "cannot be read" in lines[0]
    assert same(weights, again)


def test_a_full_disk_is_named_and_the_state_of_the_epoch_before_stays(tmp_path):
    train(tmp_path, epochs=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "training").iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(epoch, number):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # less than one of the files

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises((OSError, RuntimeError)) as raised:
            train(tmp_path, epochs=2, at_batch=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    assert is_disk_full(raised.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "training").iterdir()} == before


def test_a_loss_that_is_no_number_ends_the_training_with_advice(tmp_path):
    with pytest.raises(DataError, match="validation loss is nan in epoch 2: the training diverged; lower"):
        train(tmp_path, losses=[1.0, float("nan")])


def test_a_batch_that_the_memory_does_not_hold_is_a_skip(tmp_path):
    def too_much(epoch, number):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(Skip, match=r"does not hold a batch of the training: CUDA out of memory.* smaller batch_size"):
        train(tmp_path, at_batch=too_much)


def test_each_epoch_is_a_line_of_the_log(tmp_path):
    lines = []
    train(tmp_path, epochs=2, losses=[1.0, 2.0], say=lines.append)
    assert [line.rpartition(", ")[0].partition(": ")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert "validation loss 1 (best so far)" in lines[0]
    assert "best" not in lines[1]


def test_gradients_of_a_scaled_loss_are_clipped_as_if_it_were_not_scaled(tmp_path):
    for name in ("plain", "scaled"):
        (tmp_path / name).mkdir()
    weights, _ = train(tmp_path / "plain")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)  # a power of 2 changes no digit
    scaled, _ = train(tmp_path / "scaled", scaler=scaler)
    assert same(weights, scaled)
    state = torch.load(tmp_path / "scaled" / "training" / "state.pt", weights_only=True)
    assert state["scaler"] == scaler.state_dict() != torch.amp.GradScaler("cpu").state_dict()


def test_a_step_with_an_infinite_gradient_is_left_out(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-40)
    train(tmp_path, scaler=scaler, epochs=1)
    assert scaler.get_scale() == 2.0**87
