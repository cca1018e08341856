"""Time scBERT beside the plainest correct form of the same network, random weights, published size.

    PYTHON benchmarks/scbert.py [--device cuda] [--seconds 60] [--expressed 2900] [--small]

Run with the Python of the plugin's environment (``pertharness env build scbert``). In one run: cells embedded by the
plugin with the table of positions, and by a form without any of its means (attention as its formula reads); the
published embedding, which has no table, by counted tokens and by that form over all 16 907 positions; steps of
fine-tuning, with the memory they take; tokenising 10 000 cells of 19 264 genes. On a CPU as many cells as the plain
form does in that time, at least 2; on a GPU 300. A figure is a line of JSON.
"""

from __future__ import annotations

import argparse
import resource
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from device_clock import Clock, report
from pertharness_foundation.performer import draw_projection
from pertharness_foundation.tiny import random_state
from pertharness_scbert.cells import lay_out_genes, read_screen, tokenise
from pertharness_scbert.embedding import embed_cells
from pertharness_scbert.network import PUBLISHED, ScBert, Sizes
from pertharness_scbert.settings import Settings
from pertharness_scbert.tiny import TINY
from pertharness_scbert.training import freeze
from scipy import sparse

SMALL = replace(TINY, n_genes=500)
BATCH, CLASSES, DATA_GENES, MIN_GENES = 3, 100, 19_264, 10


def make_network(sizes: Sizes, device: torch.device, n_classes: int | None = None) -> ScBert:
    """Return the network with random weights."""
    with torch.device("meta"):
        network = ScBert(sizes, n_classes)
    state = random_state(network, 0)
    generator = torch.Generator().manual_seed(0)
    for key in state:
        if key.endswith("projection_matrix"):
            state[key] = draw_projection(sizes.n_features, sizes.dim_head, generator)
    network.load_state_dict(state, assign=True)
    return network.to(device).eval().requires_grad_(False)


def make_tokens(n_cells: int, sizes: Sizes, expressed: int) -> np.ndarray:
    """Return tokens of made-up cells that express so many genes."""
    rng = np.random.default_rng(0)
    tokens = np.zeros((n_cells, sizes.length), dtype=np.uint8)
    for row in tokens:
        row[rng.choice(sizes.n_genes, expressed, replace=False)] = rng.integers(1, sizes.n_tokens - 1, expressed)
    return tokens


def plain_mean(network: ScBert, tokens: np.ndarray, device: torch.device, *, positions: bool) -> torch.Tensor:
    """Return the mean encoding of one cell, as the description of the network reads."""
    x = network.token_emb.weight[torch.from_numpy(tokens.astype(np.int64)).to(device)]
    if positions:
        x = (x.double() + network.pos_emb.emb.weight).float()
    for attention, feed_forward in network.performer.net.layers:
        fn, normed = attention.fn, attention.norm(x)
        q, k, v = (layer(normed).view(len(x), fn.heads, -1).transpose(0, 1) for layer in (fn.to_q, fn.to_k, fn.to_v))
        directions = fn.fast_attention.projection_matrix
        scale = directions.shape[1] ** -0.25
        u_q, u_k = q * scale @ directions.T, k * scale @ directions.T
        n_q, n_k = ((scale * part).square().sum(dim=-1, keepdim=True) / 2 for part in (q, k))
        phi_q = (torch.exp(u_q - n_q - u_q.amax(dim=-1, keepdim=True)) + 1e-4) / len(directions) ** 0.5
        phi_k = (torch.exp(u_k - n_k - u_k.amax()) + 1e-4) / len(directions) ** 0.5
        attended = phi_q @ (phi_k.transpose(1, 2) @ v) / (phi_q @ phi_k.sum(dim=1).unsqueeze(-1))
        x = x + fn.to_out(attended.transpose(0, 1).reshape(len(x), -1))
        x = x + feed_forward.fn.fn(feed_forward.norm(x))
    return network.norm(x).mean(dim=0)


def peak_gb(device: torch.device) -> float:
    """Return the largest memory so far: of the GPU, or of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def time_cells(
    what: str, network: ScBert, tokens: np.ndarray, clock: Clock, seconds: float, *, positions: bool
) -> None:
    """Compare embedded cells with the plain form."""
    device = clock.device
    named = {"procedure": {"position_table": "on" if positions else "off"}}
    choices = Settings.model_validate(named).choices()
    results: dict[str, Any] = {}

    def plain(n_cells: int) -> None:
        with torch.inference_mode():
            rows = [plain_mean(network, row, device, positions=positions) for row in tokens[:n_cells]]
        results["plain"] = torch.stack(rows).double().cpu().numpy()

    one = clock.seconds(lambda: plain(1))
    n_cells = len(tokens) if device.type == "cuda" else max(2, min(len(tokens), int(seconds / one)))

    def ours() -> None:
        results["ours"] = np.concatenate(embed_cells(network, tokens[:n_cells], choices))

    times = {"plain": clock.seconds(lambda: plain(n_cells)), "ours": clock.seconds(ours)}
    report(
        what, cells=n_cells, positions=network.sizes.length, cells_per_s=n_cells / times["ours"],
        plain_cells_per_s=n_cells / times["plain"], ratio_of_time=times["ours"] / times["plain"],
        largest_difference=float(np.abs(results["ours"] - results["plain"]).max()), peak_gb=peak_gb(device),
    )  # fmt: skip


def time_fine_tuning(sizes: Sizes, expressed: int, n_batches: int, clock: Clock) -> None:
    """Time batches of fine-tuning, and the evaluation of one beside."""
    network = freeze(make_network(sizes, clock.device, CLASSES)).train()
    tokens = torch.from_numpy(make_tokens(BATCH, sizes, expressed).astype(np.int64)).to(clock.device)
    classes = torch.arange(BATCH, device=clock.device)

    def step() -> None:
        torch.nn.functional.cross_entropy(network(tokens), classes).backward()

    def evaluate() -> None:
        with torch.no_grad():
            network(tokens)

    step()
    seconds = clock.seconds(lambda: [step() for _ in range(n_batches)]) / n_batches
    alone = clock.seconds(evaluate)
    report(
        "fine-tuning", batch=BATCH, cells_per_s=BATCH / seconds, ratio_to_evaluation=seconds / alone,
        epoch_of_4000_and_1000_cells_h=(4000 * seconds + 1000 * alone) / BATCH / 3600, peak_gb=peak_gb(clock.device),
    )  # fmt: skip


def time_inputs(n_cells: int, sizes: Sizes, n_genes: int, expressed: int) -> None:
    """Time reading and tokenising cells."""
    rng = np.random.default_rng(0)
    matrix = sparse.random(n_cells, n_genes, expressed / n_genes, "csr", dtype=np.float32, random_state=rng)
    matrix.data = (0.5 + 3 * matrix.data).astype(np.float32)
    obs = pd.DataFrame({"perturbation": ["control"] * n_cells}, index=[str(number) for number in range(n_cells)])
    adata = AnnData(X=matrix, obs=obs, var=pd.DataFrame(index=[f"G{number}" for number in range(n_genes)]))
    listed = [f"G{number}" for number in rng.permutation(n_genes)[: sizes.n_genes]]
    listed += [f"H{number}" for number in range(sizes.n_genes - len(listed))]

    def tokens() -> None:
        screen = read_screen(adata, lay_out_genes(adata.var_names, listed), MIN_GENES)
        for start in range(0, n_cells, 1_000):
            tokenise(screen.logs(np.arange(start, min(start + 1_000, n_cells))), sizes.n_tokens)

    before = peak_gb(torch.device("cpu"))
    seconds = Clock(torch.device("cpu")).seconds(tokens)
    more = peak_gb(torch.device("cpu")) - before
    report("tokenising", cells=n_cells, genes=n_genes, expressed=expressed, seconds=seconds, more_memory_gb=more)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--expressed", type=int, default=2_900)
    parser.add_argument("--small", action="store_true", help="a network that computes in no time, to try the script")
    options = parser.parse_args()
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    report("machine", device=torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads",
           torch=torch.__version__)  # fmt: skip
    sizes = SMALL if options.small else PUBLISHED
    expressed = min(options.expressed, sizes.n_genes // 4)
    time_inputs(
        500 if options.small else 10_000, sizes, sizes.n_genes + 100 if options.small else DATA_GENES, expressed
    )
    network, clock = make_network(sizes, device), Clock(device)
    tokens = make_tokens(300, sizes, expressed)
    time_cells("published embedding", network, tokens, clock, options.seconds, positions=False)
    time_cells("cells", network, tokens, clock, options.seconds, positions=True)
    time_fine_tuning(sizes, expressed, 20 if on_gpu else 1, clock)


if __name__ == "__main__":
    main()
