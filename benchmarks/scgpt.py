"""Time scGPT beside the plainest correct form of the same network, random weights, published size.

    ENVIRONMENT/bin/python benchmarks/scgpt.py [--device cuda] [--seconds 60] [--genes 1536] [--check] [--small]

Run with the Python of the plugin's environment (``pertharness env build scgpt``). In one run: prediction and training
of the plugin, loading and pairing included, and of a form without any of its means (attention as matrices, each cell's
genes embedded again, values from an array). On a CPU as many cells as the plain form predicts in that time, at least
2; on a GPU 1 000. ``--check`` compares condition means in bfloat16 with those in float32. A figure is a line of JSON.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from device_clock import Clock, report
from pertharness_foundation.device import Precision, autocast
from pertharness_foundation.tiny import random_state
from pertharness_scgpt.batches import Batches, to_device
from pertharness_scgpt.data import NO_TARGET, Pairs, pair_cells
from pertharness_scgpt.network import Network, Sizes
from pertharness_scgpt.predicting import flag_targets, predict_mean, sequence_predictor
from pertharness_scgpt.training import CLIP_NORM, squared_error
from scipy import sparse
from torch.nn import functional as F

PUBLISHED = Sizes(width=512, heads=8, hidden=512, layers=12, class_layers=3, tokens=60_697, padding=60_694)
SMALL = Sizes(width=32, heads=4, hidden=32, layers=2, class_layers=3, tokens=4_000, padding=3_999)
FEW = 10
"""Of so many values one is not 0."""
BATCH = 64


def make_pairs(n_cells: int, n_genes: int) -> Pairs:
    """Return pairs of made-up cells, a tenth of them controls."""
    rng = np.random.default_rng(0)
    each = n_genes // FEW
    columns = FEW * np.arange(each, dtype=np.int32) + rng.integers(0, FEW, (n_cells, each), dtype=np.int32)
    data = rng.random(n_cells * each, dtype=np.float32) + 1
    cells = sparse.csr_matrix((data, columns.ravel(), each * np.arange(n_cells + 1)), (n_cells, n_genes))
    labels = np.where(np.arange(n_cells) % 10 == 0, "control", "KLF1").astype(object)
    controls = cells[labels == "control"]
    inputs, outputs = pair_cells(labels, np.random.RandomState(0), controls.shape[0])
    targets = np.full((n_cells, 2), NO_TARGET)
    targets[:, 0] = rng.integers(0, n_genes, n_cells)
    return Pairs(controls, cells, inputs, outputs, targets)


def make_values(n_cells: int, n_genes: int, rng: np.random.Generator) -> np.ndarray:
    """Return made-up expression of cells, float32, most of it 0."""
    drawn = rng.normal(2, 0.5, (n_cells, n_genes))
    return np.where(rng.random((n_cells, n_genes)) < 1 / FEW, drawn, 0).astype(np.float32)


def plain_forward(network: Network, tokens: torch.Tensor, values: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
    """Return what the network does, written without its means: every cell by itself, attention as matrices."""
    x = network.encoder(tokens) + network.value_encoder(values) + network.pert_encoder(flags)
    x = network.bn(x.flatten(0, 1)).view_as(x)
    heads = network.sizes.heads
    for layer in network.transformer_encoder.layers:
        n_cells, n_genes, width = x.shape
        projected = F.linear(x, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias).chunk(3, dim=-1)
        query, key, value = (part.view(n_cells, n_genes, heads, -1).transpose(1, 2) for part in projected)
        weights = torch.softmax(query @ key.transpose(-2, -1) / math.sqrt(width // heads), dim=-1)
        weights = F.dropout(weights, layer.dropout, layer.training)
        mixed = (weights @ value).transpose(1, 2).reshape(n_cells, n_genes, width)
        x = layer.norm1(x + F.dropout(layer.self_attn.out_proj(mixed), layer.dropout, layer.training))
        inner = F.dropout(F.relu(layer.linear1(x)), layer.dropout, layer.training)
        x = layer.norm2(x + F.dropout(layer.linear2(inner), layer.dropout, layer.training))
    predicted: torch.Tensor = network.decoder.fc(x).squeeze(-1)
    return predicted


def predict_plain(network: Network, tokens: torch.Tensor, values: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Return the mean prediction over cells, one after another."""
    rows = []
    device = tokens.device
    with torch.inference_mode():
        for row in values:
            of_cell = torch.tensor(row[None], device=device), torch.tensor(flags[None], device=device)
            rows.append(plain_forward(network, tokens[None], *of_cell)[0].float().cpu().numpy())
    return np.mean(rows, axis=0)


def time_prediction(network: Network, n_genes: int, seconds: float, clock: Clock, precision: Precision) -> None:
    """Compare the prediction of one condition with the plain form."""
    device, rng = clock.device, np.random.default_rng(1)
    tokens = rng.permutation(network.sizes.padding)[:n_genes].astype(np.int64)
    on_device, flags = to_device(tokens, device), flag_targets([3], n_genes, "one")
    values = make_values(1_000, n_genes, rng)
    one = clock.seconds(lambda: predict_plain(network, on_device, values[:1], flags))
    n_cells = 1_000 if device.type == "cuda" else max(2, min(1_000, int(seconds / one)))
    values = values[:n_cells]
    predict = sequence_predictor(network, on_device, flags, device, precision)
    results: dict[str, np.ndarray] = {}
    ours = clock.seconds(
        lambda: results.update(ours=predict_mean(predict, values, [np.arange(n_genes)], BATCH).cpu().numpy())
    )
    plain = clock.seconds(lambda: results.update(plain=predict_plain(network, on_device, values, flags)))
    off = float(np.abs(results["ours"] - results["plain"]).max())
    report(
        "prediction", genes=n_genes, cells=n_cells, precision=precision, cells_per_s=n_cells / ours,
        plain_cells_per_s=n_cells / plain, ratio_of_time=ours / plain, largest_difference=off,
    )  # fmt: skip


def time_training(network: Network, n_genes: int, n_batches: int, clock: Clock, precision: Precision) -> None:
    """Compare training steps, sampling and loading included, with the plain form on tensors that are there already."""
    device = clock.device
    size = BATCH if device.type == "cuda" else 2
    pairs = make_pairs(size * n_batches, 2 * n_genes)
    tokens = np.random.default_rng(2).permutation(network.sizes.padding)[: 2 * n_genes].astype(np.int64)
    batches = Batches(tokens, size, n_genes, "uniform", device)
    ready = next(iter(batches.shuffled(pairs, torch.Generator().manual_seed(0), drop_last=True)))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step(loss: torch.Tensor) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimiser.step()
        optimiser.zero_grad()

    def ours() -> None:
        for batch in batches.shuffled(pairs, torch.Generator().manual_seed(0), drop_last=True):
            with autocast(device, precision):
                loss = squared_error(network, batch)
            step(loss)

    def bare() -> None:
        for _ in range(n_batches):
            with autocast(device, precision):
                loss = squared_error(network, ready)
            step(loss)

    def plain() -> None:
        expanded = ready.tokens.expand(size, -1)
        for _ in range(n_batches):
            predicted = plain_forward(network, expanded, ready.values, ready.flags)
            step(F.mse_loss(predicted, ready.expected))

    network.train()
    bare()
    times = {name: clock.seconds(work) for name, work in (("ours", ours), ("bare", bare))}
    if device.type != "cuda":  # on a GPU the matrices of 64 cells are 60 GB
        times["plain"] = clock.seconds(plain)
    network.eval()
    n_cells = size * n_batches
    rates = {f"{name}_cells_per_s": n_cells / seconds for name, seconds in times.items()}
    report(
        "training", genes=n_genes, cells=n_cells, batch=size, precision=precision, **rates,
        of_bare=times["bare"] / times["ours"],
        peak_gb=torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None,
        epoch_of_81000_cells_s=81_000 * times["ours"] / n_cells,
    )  # fmt: skip


def time_loading(n_cells: int, n_genes: int, most: int) -> None:
    """Time pairing, sampling and gathering alone, per batch."""
    pairs = make_pairs(n_cells, n_genes)
    tokens = np.arange(n_genes)
    batches = Batches(tokens, BATCH, most, "uniform", torch.device("cpu"))
    clock = Clock(torch.device("cpu"))
    seconds = clock.seconds(lambda: list(batches.shuffled(pairs, torch.Generator().manual_seed(0), drop_last=True)))
    report("loading", cells=n_cells, genes=n_genes, ms_per_batch=1e3 * seconds / (n_cells // BATCH))


def check_bfloat16(network: Network, n_genes: int, device: torch.device) -> None:
    """Compare means of conditions and their changes in bfloat16 with those in float32."""
    rng = np.random.default_rng(3)
    on_device = to_device(rng.permutation(network.sizes.padding)[:n_genes].astype(np.int64), device)
    values = make_values(100, n_genes, rng)
    means: dict[str, list[np.ndarray]] = {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        means[precision] = []
        for positions in ([], [3], [5, 9]):
            predict = sequence_predictor(network, on_device, flag_targets(positions, n_genes, "one"), device, precision)
            mean = predict_mean(predict, values, [np.arange(n_genes)], BATCH)
            means[precision].append(mean.cpu().numpy())
    exact, rounded = (np.array(means[precision]) for precision in precisions)
    changes = (exact[1:] - exact[0]).ravel(), (rounded[1:] - rounded[0]).ravel()
    report(
        "bfloat16", largest_difference=float(np.abs(exact - rounded).max()),
        correlation_of_changes=float(np.corrcoef(*changes)[0, 1]), needed="0.02 and 0.999",
    )  # fmt: skip


def time_reading(network: Network) -> None:
    """Time writing a checkpoint of this size, and reading it memory-mapped."""
    from pertharness_foundation.checkpoint import read_state_dict

    with TemporaryDirectory() as folder:
        path = Path(folder) / "best_model.pt"
        torch.save(network.state_dict(), path)
        clock = Clock(torch.device("cpu"))
        seconds = clock.seconds(lambda: network.load_state_dict(read_state_dict(path)))
        report("reading", size_mb=path.stat().st_size / 1e6, seconds=seconds)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--genes", type=int, default=1536)
    parser.add_argument("--check", action="store_true", help="compare bfloat16 with float32")
    parser.add_argument("--small", action="store_true", help="a network that computes in no time, to try the script")
    options = parser.parse_args()
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    precision: Precision = "bfloat16" if on_gpu else "float32"
    report("machine", device=torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads",
           torch=torch.__version__)  # fmt: skip
    with torch.device("meta"):
        network = Network(SMALL if options.small else PUBLISHED)
    network.load_state_dict(random_state(network, 0), assign=True)
    network = network.to(device).eval()
    clock = Clock(device)
    time_reading(network)
    time_loading(1_280 if options.small else 6_400, 2_000 if options.small else 19_264, options.genes)
    time_prediction(network, options.genes, options.seconds, clock, precision)
    if on_gpu:
        for n_genes in (5_060, 19_264):
            time_long(network, n_genes, clock, precision)
    if options.check:
        check_bfloat16(network, options.genes, device)
    time_training(network, options.genes, 50 if on_gpu else 2, clock, precision)


def time_long(network: Network, n_genes: int, clock: Clock, precision: Precision) -> None:
    """Time the paper's prediction of all genes in one sequence."""
    rng, device = np.random.default_rng(4), clock.device
    on_device = to_device(rng.permutation(network.sizes.padding)[:n_genes].astype(np.int64), device)
    values = make_values(100, n_genes, rng)
    predict = sequence_predictor(network, on_device, flag_targets([3], n_genes, "one"), device, precision)
    predict_mean(predict, values[:8], [np.arange(n_genes)], BATCH)
    seconds = clock.seconds(lambda: predict_mean(predict, values, [np.arange(n_genes)], BATCH))
    report("prediction of all genes at once", genes=n_genes, cells=100, cells_per_s=100 / seconds)


if __name__ == "__main__":
    main()
