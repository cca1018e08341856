"""Time scFoundation beside the plainest correct form of the same network, random weights, published size.

    PYTHON benchmarks/scfoundation.py [--device cuda] [--seconds 60] [--expressed 2900] [--check] [--small]

Run with the Python of the plugin's environment (``pertharness env build scfoundation``). In one run: gene embeddings by
the plugin, tokenising included, and by a form without any of its means (one cell after another, attention as matrices,
each of the 19 266 positions embedded anew in every cell); the steps of training; the graphs; tokenising 10 000 cells.
On a CPU as many cells as the plain form does in that time, at least 2; on a GPU 1 000. ``--check`` compares
predictions in bfloat16 with those in float32. A figure is a line of JSON.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from device_clock import Clock, report
from pertharness_foundation.device import Precision
from pertharness_foundation.tiny import random_state
from pertharness_scfoundation.cells import Cells, extend, tokenise
from pertharness_scfoundation.embedder import Embedder, make_embedder
from pertharness_scfoundation.graphs import Graph, coexpression_graph, ontology_graph
from pertharness_scfoundation.head import GraphHead, perturbed_in
from pertharness_scfoundation.network import Dimensions, ScFoundation
from pertharness_scfoundation.tiny import PUBLISHED, TINY
from scipy import sparse

SMALL = replace(TINY, n_genes=500)
TERMS = 15
"""Terms of a gene: about as many as gene2go has."""
LOOPED = 1_000
"""Genes whose shared terms are counted in loops."""
BATCH_PREDICT, BATCH_TRAIN = 5, 6


def make_cells(n_cells: int, n_genes: int, expressed: int) -> Cells:
    """Return made-up cells that express so many genes."""
    rng = np.random.default_rng(0)
    matrix = sparse.random(n_cells, n_genes, min(1.0, expressed / n_genes), "csr", dtype=np.float32, random_state=rng)
    matrix.data = (0.5 + 3 * matrix.data).astype(np.float32)
    matrix.sort_indices()
    return Cells(matrix, np.full(n_cells, 12_000.0), np.array(["control"] * n_cells, dtype=object))


def make_network(sizes: Dimensions) -> ScFoundation:
    """Return the network with random weights."""
    with torch.device("meta"):
        network = ScFoundation(sizes)
    network.load_state_dict(random_state(network, 0), assign=True)
    return network.eval().requires_grad_(False)


def plain_embedding(network: ScFoundation, values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return the gene embeddings of one cell, as the description of the network reads, nothing worked out before."""
    z = torch.from_numpy(values).to(device)
    positions = torch.arange(len(z), device=device)
    seen = positions[z > 0]
    hidden = network.token_emb(z[seen]) + network.pos_emb(seen)
    for layer in network.encoder.transformer_encoder:
        heads, width = layer.self_attn.heads, hidden.shape[-1]
        parts = torch.nn.functional.linear(hidden, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias)
        q, k, v = (part.view(len(seen), heads, -1).transpose(0, 1) for part in parts.chunk(3, dim=-1))
        weights = torch.softmax(q @ k.transpose(1, 2) / (width // heads) ** 0.5, dim=-1)
        attended = layer.self_attn.out_proj((weights @ v).transpose(0, 1).reshape(len(seen), width))
        hidden = layer.norm1(hidden + attended)
        hidden = layer.norm2(hidden + layer.linear2(torch.relu(layer.linear1(hidden))))
    rows = network.token_emb(z)
    rows[seen] = network.encoder.norm(hidden)
    x = network.decoder_embed(rows + network.pos_emb(positions))
    for attention, feed_forward in network.decoder.performer.net.layers:
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
    return network.norm(network.decoder.norm(x))[: network.sizes.n_genes]


def peak_gb(device: torch.device) -> float | None:
    """Return the largest memory of the GPU so far; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def time_embeddings(embedder: Embedder, expressed: int, seconds: float, clock: Clock) -> None:
    """Compare gene embeddings, in batches as of a prediction, with the plain form, cell by cell."""
    n_genes, device = embedder.network.sizes.n_genes, embedder.device
    cells = make_cells(1_000, n_genes, expressed)
    values = extend(cells.expression, cells.totals).toarray()
    results: dict[str, Any] = {"plain": [], "ours": []}

    def plain(rows: range) -> None:
        with torch.inference_mode():
            results["plain"] += [plain_embedding(embedder.network, values[row], device)[:, :8].cpu() for row in rows]

    one = clock.seconds(lambda: plain(range(1)))
    n_cells = 1_000 if device.type == "cuda" else max(2, min(1_000, int(seconds / one)))
    results["plain"].clear()

    def ours() -> None:
        for start in range(0, n_cells, BATCH_PREDICT):
            rows = np.arange(start, min(start + BATCH_PREDICT, n_cells))
            results["ours"] += embedder.embed(cells.take(rows))[:, :, :8].cpu()

    embedder = embedder.with_maxima(["cell"] * embedder.network.sizes.decoder_depth)
    times = {"plain": clock.seconds(lambda: plain(range(n_cells))), "ours": clock.seconds(ours)}
    off = float((torch.stack(results["plain"]) - torch.stack(results["ours"])).abs().max())
    report(
        "gene embeddings", cells=n_cells, genes=n_genes, expressed=expressed, precision=embedder.precision,
        cells_per_s=n_cells / times["ours"], plain_cells_per_s=n_cells / times["plain"],
        ratio_of_time=times["ours"] / times["plain"], largest_difference=off, peak_gb=peak_gb(device),
    )  # fmt: skip


def make_head(embedder: Embedder, n_perturbations: int) -> GraphHead:
    """Return a graph model with rings of neighbours."""

    def ring(n: int) -> Graph:
        target = np.repeat(np.arange(n), 20)
        source = (target + np.tile(np.arange(1, 21), n)) % n
        return Graph(source, target, np.full(len(source), 0.5), n)

    sizes = embedder.network.sizes
    head = GraphHead(
        sizes.n_genes, n_perturbations, sizes.decoder_width, coexpression=ring(sizes.n_genes),
        ontology=ring(n_perturbations), smooth_all=True,
    )  # fmt: skip
    return head.to(embedder.device).eval()


def time_training(embedder: Embedder, head: GraphHead, expressed: int, clock: Clock) -> None:
    """Time steps of training, and how much of them is the pretrained network; on a CPU one step of 2 cells."""
    device = embedder.device
    on_gpu = device.type == "cuda"
    n_batches, size = (20, BATCH_TRAIN) if on_gpu else (1, 2)
    cells = make_cells(size * n_batches, embedder.network.sizes.n_genes, expressed)
    perturbed = perturbed_in([[], [1], [2, 3], [4], [5], [6, 7]][:size]).to(device)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.01, weight_decay=5e-4)
    embeddings: list[torch.Tensor] = []
    frozen = 0.0

    def step(number: int) -> None:
        nonlocal frozen
        batch = cells.take(np.arange(size * number, size * (number + 1)))
        expression = torch.from_numpy(batch.expression.toarray()).to(device)
        frozen += clock.seconds(lambda: embeddings.append(embedder.embed(batch)))
        predicted = head(embeddings.pop(), expression, perturbed)
        (predicted - expression).pow(4).mean().backward()
        torch.nn.utils.clip_grad_value_(head.parameters(), 1.0)
        if number % 5 == 4 or not on_gpu:
            optimiser.step()
            optimiser.zero_grad()

    head.train()
    if on_gpu:
        step(0)
    frozen = 0.0
    seconds = clock.seconds(lambda: [step(number) for number in range(n_batches)])
    head.eval()
    n_cells = n_batches * size
    report(
        "training", cells=n_cells, batch=size, precision=embedder.precision, cells_per_s=n_cells / seconds,
        share_of_the_frozen_network=frozen / seconds, epoch_of_81000_cells_h=81_000 * seconds / n_cells / 3600,
        peak_gb=peak_gb(device),
    )  # fmt: skip


def time_queries(embedder: Embedder, head: GraphHead, expressed: int, n_queries: int, clock: Clock) -> None:
    """Time a batch of controls for several queries that share it, beside a batch for each query; on a CPU one cell."""
    size = BATCH_PREDICT if embedder.device.type == "cuda" else 1
    cells = make_cells(size, embedder.network.sizes.n_genes, expressed)
    expression = torch.from_numpy(cells.expression.toarray()).to(embedder.device)
    queries = [perturbed_in([[number]] * size).to(embedder.device) for number in range(n_queries)]

    def shared() -> None:
        base, table = head.base(embedder.embed(cells)), head.perturbations()
        for perturbed in queries:
            head.respond(base, expression, perturbed, table)

    def each() -> None:
        for perturbed in queries:
            head(embedder.embed(cells), expression, perturbed)

    with torch.inference_mode():
        times = {name: clock.seconds(work) for name, work in (("shared", shared), ("each", each))}
    report(
        "controls of a prediction", queries=n_queries, batch=size, seconds=times["shared"],
        ratio_to_own_controls=times["shared"] / times["each"], peak_gb=peak_gb(embedder.device),
    )  # fmt: skip


def time_inputs(n_cells: int, n_genes: int, expressed: int) -> None:
    """Time tokenising, and the two graphs, beside loops on a part."""
    clock = Clock(torch.device("cpu"))
    cells = make_cells(n_cells, n_genes, expressed)

    def tokens() -> None:
        for start in range(0, n_cells, 500):
            part = cells.take(np.arange(start, min(start + 500, n_cells)))
            tokenise(extend(part.expression, part.totals), 103.0)

    report("tokenising", cells=n_cells, genes=n_genes, seconds=clock.seconds(tokens))
    rng = np.random.default_rng(1)
    numbers = (rng.random((n_genes, TERMS)) ** 3 * n_genes).astype(int)  # few terms are common, most are rare
    terms = [frozenset(map(str, row)) for row in numbers]
    some = terms[:: max(1, n_genes // LOOPED)]

    def loop() -> None:
        [len(a & b) / len(a | b) for a in some for b in some]

    fast = clock.seconds(lambda: ontology_graph(terms))
    slow = clock.seconds(loop) * (n_genes / len(some)) ** 2
    report("graph of shared terms", genes=n_genes, seconds=fast, ratio_to_loops=fast / slow)
    part = cells.take(np.arange(min(n_cells, 2_000)))
    seconds = clock.seconds(lambda: coexpression_graph(part.expression))
    report("graph of co-expression", cells=len(part.totals), genes=n_genes, seconds=seconds)


def check_bfloat16(network: ScFoundation, head: GraphHead, expressed: int, device: torch.device) -> None:
    """Compare means of conditions and their changes in bfloat16 with those in float32."""
    cells = make_cells(20, network.sizes.n_genes, expressed)
    means: dict[str, np.ndarray] = {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        embedder = make_embedder(network, device, precision)
        expression = torch.from_numpy(cells.expression.toarray()).to(device)
        embeddings = torch.cat([embedder.embed(cells.take(np.arange(start, start + 5))) for start in (0, 5, 10, 15)])
        with torch.inference_mode():
            rows = [head(embeddings, expression, perturbed_in([genes] * 20).to(device)).double().mean(dim=0)
                    for genes in ([], [3], [5, 9])]  # fmt: skip
        means[precision] = torch.stack(rows).cpu().numpy()
    exact, rounded = (means[precision] for precision in precisions)
    changes = (exact[1:] - exact[0]).ravel(), (rounded[1:] - rounded[0]).ravel()
    report(
        "bfloat16", largest_difference=float(np.abs(exact - rounded).max()),
        correlation_of_changes=float(np.corrcoef(*changes)[0, 1]), needed="0.02 and 0.999",
    )  # fmt: skip


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--expressed", type=int, default=2_900)
    parser.add_argument("--check", action="store_true", help="compare bfloat16 with float32")
    parser.add_argument("--small", action="store_true", help="a network that computes in no time, to try the script")
    options = parser.parse_args()
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    report("machine", device=torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads",
           torch=torch.__version__)  # fmt: skip
    sizes = SMALL if options.small else PUBLISHED
    expressed = min(options.expressed, sizes.n_genes // 4)
    time_inputs(500 if options.small else 10_000, sizes.n_genes, expressed)
    network = make_network(sizes)
    clock = Clock(device)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16") if on_gpu else ("float32",)
    for precision in precisions:
        embedder = make_embedder(network, device, precision)
        time_embeddings(embedder, expressed, options.seconds, clock)
    embedder = make_embedder(network, device, "float32")
    head = make_head(embedder, 100 if options.small else 10_000)
    time_training(embedder, head, expressed, clock)
    time_queries(embedder, head, expressed, 10 if on_gpu or options.small else 2, clock)
    if options.check:
        check_bfloat16(network, head, expressed, device)


if __name__ == "__main__":
    main()
