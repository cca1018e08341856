"""Time Geneformer beside the plainest correct form of the same network, random weights, published size.

    ENVIRONMENT/bin/python benchmarks/geneformer.py [--device cuda] [--seconds 60] [--tokens 2048] [--check] [--small]

Run with the Python of the plugin's environment (``pertharness env build geneformer``). In one run: tokens of 10 000
cells x 19 264 genes; the embedding of perturbed cells, perturbation and padding included, and a training step, each
beside a form without any of the plugin's means (a cell after another, attention as matrices). On a CPU as many cells
as the plain form embeds in that time, at least 2; on a GPU 300. ``--check`` compares vectors in bfloat16 with those in
float32. A figure is a line of JSON.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from device_clock import Clock, report
from pertharness_foundation.device import Precision, autocast
from pertharness_foundation.tiny import random_state
from pertharness_geneformer.genes import UNKNOWN, Genes
from pertharness_geneformer.network import Embedder, make_classifier
from pertharness_geneformer.perturbing import delete
from pertharness_geneformer.settings import Training
from pertharness_geneformer.tiny import tiny_state
from pertharness_geneformer.tokens import Vocabulary, tokenise
from pertharness_geneformer.training import CLIP_NORM, Classifier, Labelled, freeze, groups_of
from pertharness_geneformer.weights import PUBLISHED, Sizes
from scipy import sparse
from torch.nn import functional as F

SMALL = replace(
    PUBLISHED, vocab_size=20_275, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64
)
SPECIAL = Vocabulary(padding=0, cls=2, eos=3, longest=PUBLISHED.max_position_embeddings)
N_CLASSES = 100
BF16_PEAK = 989e12
"""Operations per second of an H100 in bfloat16, without sparsity, as its maker states."""


def make_cells(n_cells: int, n_tokens: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return made-up tokens of cells of about one length: up to a tenth shorter."""
    cells = []
    for length in rng.integers(n_tokens - n_tokens // 10, n_tokens + 1, n_cells):
        genes = rng.permutation(np.arange(4, PUBLISHED.vocab_size))[: length - 2]
        cells.append(np.concatenate([[SPECIAL.cls], genes, [SPECIAL.eos]]))
    return cells


def time_tokens(n_cells: int, n_genes: int, expressed: int) -> None:
    """Time the way from log1p CP10k to tokens."""
    rng = np.random.default_rng(0)
    different = 50
    rows = [np.sort(rng.choice(n_genes, expressed, replace=False)) for _ in range(different)]
    columns = np.tile(np.concatenate(rows), n_cells // different).astype(np.int32)
    counts = rng.poisson(2, len(columns)) + 1
    starts = expressed * np.arange(n_cells + 1)
    totals = np.add.reduceat(counts, starts[:-1])
    logs = np.log1p(counts / np.repeat(totals, expressed) * 1e4).astype(np.float32)
    cells = sparse.csr_matrix((logs, columns, starts), (n_cells, n_genes))
    of_column = np.arange(n_genes) - n_genes // 40  # a part has no token
    of_column[of_column < 0] = UNKNOWN
    ids = tuple(f"ENSG{number:011d}" for number in range(of_column.max() + 1))
    genes = Genes(ids, of_column, ids, 4 + rng.permutation(len(ids)), rng.uniform(0.5, 2, len(ids)), "")
    seconds = Clock(torch.device("cpu")).seconds(lambda: tokenise(cells, genes, SPECIAL))
    report("tokens", cells=n_cells, genes=n_genes, expressed=expressed, seconds=seconds)


def plain_states(network: Any, cell: np.ndarray) -> torch.Tensor:
    """Return the last hidden states of a cell, written without the library's means: attention as matrices."""
    bert, heads, rate = network.bert, network.config.num_attention_heads, network.config.hidden_dropout_prob
    device = bert.embeddings.word_embeddings.weight.device
    ids = torch.tensor(cell[None].astype(np.int64), device=device)

    def dropped(values: torch.Tensor) -> torch.Tensor:
        return F.dropout(values, rate, network.training)

    embeddings = bert.embeddings
    x = embeddings.word_embeddings(ids) + embeddings.position_embeddings.weight[: ids.shape[1]]
    x = dropped(embeddings.LayerNorm(x + embeddings.token_type_embeddings.weight[0]))
    for layer in bert.encoder.layer:
        attention = layer.attention
        n_cells, length, width = x.shape
        query, key, value = (
            getattr(attention.self, name)(x).view(n_cells, length, heads, -1).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        weights = dropped(torch.softmax(query @ key.transpose(-2, -1) / math.sqrt(width // heads), dim=-1))
        mixed = (weights @ value).transpose(1, 2).reshape(n_cells, length, width)
        x = attention.output.LayerNorm(x + dropped(attention.output.dense(mixed)))
        x = layer.output.LayerNorm(x + dropped(layer.output.dense(F.relu(layer.intermediate.dense(x)))))
    states: torch.Tensor = x
    return states


def embed_plain(network: Any, cells: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean vector of cells, one after another."""
    with torch.inference_mode():
        rows = [plain_states(network, cell)[0, 0].float().cpu().numpy() for cell in cells]
    mean: np.ndarray = np.mean(rows, axis=0, dtype=np.float64)
    return mean


def operations(sizes: Sizes, length: int) -> float:
    """Return the operations of a forward pass of a cell: products of matrices alone."""
    width, inner = sizes.hidden_size, sizes.intermediate_size
    return 2.0 * sizes.num_hidden_layers * length * (4 * width**2 + 2 * width * inner + 2 * length * width)


def time_embedding(
    network: Any, sizes: Sizes, n_tokens: int, seconds: float, clock: Clock, precision: Precision
) -> None:
    """Compare the embedding of a condition with the plain form."""
    device, rng = clock.device, np.random.default_rng(1)
    cells = make_cells(300, n_tokens, rng)
    one = clock.seconds(lambda: embed_plain(network, cells[:1]))
    n_cells = 300 if device.type == "cuda" else max(2, min(300, int(seconds / one)))
    cells = cells[:n_cells]
    target = [int(cells[0][5])]
    embedder = Embedder(network, SPECIAL.padding, device, precision, "last", "cls", 100)
    results: dict[str, np.ndarray] = {}

    def ours() -> None:
        perturbed = [delete(cell, target, "no_op") for cell in sorted(cells, key=len, reverse=True)]
        results["ours"] = embedder.mean([cell for cell in perturbed if cell is not None])

    def plain() -> None:
        perturbed = [delete(cell, target, "no_op") for cell in cells]
        results["plain"] = embed_plain(network, [cell for cell in perturbed if cell is not None])

    if device.type == "cuda":
        ours()  # what is compiled at the first call
    spent, spent_plain = clock.seconds(ours), clock.seconds(plain)
    mean_length = int(np.mean([len(cell) for cell in cells]))
    report(
        "embedding", tokens=mean_length, cells=n_cells, precision=precision, cells_per_s=n_cells / spent,
        plain_cells_per_s=n_cells / spent_plain, ratio_of_time=spent / spent_plain,
        largest_difference=float(np.abs(results["ours"] - results["plain"]).max()),
        of_bf16_peak=n_cells * operations(sizes, mean_length) / spent / BF16_PEAK if device.type == "cuda" else None,
        peak_gb=torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None,
    )  # fmt: skip


def time_training(network: Any, n_tokens: int, n_batches: int, clock: Clock, precision: Precision) -> None:
    """Compare training steps with those of the plain form, a cell after another."""
    device = clock.device
    size = 12 if device.type == "cuda" else 2
    rng = np.random.default_rng(2)
    cells = make_cells(size * n_batches, n_tokens, rng)
    part = Labelled(cells, rng.integers(0, N_CLASSES, len(cells)))
    options = Training(batch_size=size)
    classifier = Classifier(network, part, part, options, SPECIAL.padding, device, precision, seed=42)
    freeze(network, options.frozen_layers)
    optimiser = torch.optim.AdamW(groups_of(network, options.weight_decay), lr=options.lr)

    def finish() -> None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimiser.step()
        optimiser.zero_grad()

    def ours() -> None:
        for batch in classifier.epoch(0):
            with autocast(device, precision):
                loss = classifier.loss_of(batch)
            loss.backward()
            finish()

    def plain() -> None:
        classes = torch.from_numpy(part.classes).to(device)
        for start in range(0, len(cells), size):
            for row in range(start, start + size):
                pooled = network.dropout(network.bert.pooler(plain_states(network, cells[row])))
                (F.cross_entropy(network.classifier(pooled), classes[row : row + 1]) / size).backward()
            finish()

    network.train()
    ours()  # makes the state of the optimiser
    spent, spent_plain = clock.seconds(ours), clock.seconds(plain)
    network.eval()
    report(
        "training", tokens=n_tokens, cells=len(cells), batch=size, precision=precision, cells_per_s=len(cells) / spent,
        plain_cells_per_s=len(cells) / spent_plain, ratio_of_time=spent / spent_plain,
        peak_gb=torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None,
    )  # fmt: skip


def check_bfloat16(network: Any, n_tokens: int, device: torch.device) -> None:
    """Compare vectors of cells, and what a deletion changes in them, in bfloat16 with those in float32."""
    cells = make_cells(50, n_tokens, np.random.default_rng(3))
    found: dict[str, list[np.ndarray]] = {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        embedder = Embedder(network, SPECIAL.padding, device, precision, "last", "cls", 100)
        edits = [cells, *([np.delete(cell, place) for cell in cells] for place in (1, 20))]
        found[precision] = [embedder.mean(edited) for edited in edits]
    exact, rounded = (np.array(found[precision]) for precision in precisions)
    changes = (exact[1:] - exact[0]).ravel(), (rounded[1:] - rounded[0]).ravel()
    report(
        "bfloat16", largest_difference=float(np.abs(exact - rounded).max()),
        correlation_of_changes=float(np.corrcoef(*changes)[0, 1]), needed="0.02 and 0.999",
    )  # fmt: skip


def time_reading(sizes: Sizes, clock: Clock) -> None:
    """Time reading weights of this size into a network."""
    from pertharness_foundation.checkpoint import load_state, read_state_dict
    from pertharness_foundation.tiny import write_safetensors
    from pertharness_geneformer.weights import key_rules

    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        write_safetensors(path, tiny_state(sizes, 0))
        network = make_classifier(sizes, N_CLASSES)
        seconds = clock.seconds(lambda: load_state(network, read_state_dict(path), key_rules(), source=path.name))
        report("reading", size_mb=path.stat().st_size / 1e6, seconds=seconds)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tokens", type=int, default=2048, help="of a cell")
    parser.add_argument("--check", action="store_true", help="compare bfloat16 with float32")
    parser.add_argument("--small", action="store_true", help="a network that computes in no time, to try the script")
    options = parser.parse_args()
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    report("machine", device=torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads",
           torch=torch.__version__)  # fmt: skip
    sizes = SMALL if options.small else PUBLISHED
    time_tokens(500 if options.small else 10_000, 19_264, 2_900)
    time_reading(sizes, Clock(torch.device("cpu")))
    network = make_classifier(sizes, N_CLASSES)
    network.load_state_dict(random_state(network, 0))
    network = network.to(device).eval()
    clock = Clock(device)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16") if on_gpu else ("float32",)
    for precision in precisions:
        time_embedding(network, sizes, options.tokens, options.seconds, clock, precision)
    if options.check:
        check_bfloat16(network, options.tokens, device)
    for precision in precisions:
        time_training(network, options.tokens, 20 if on_gpu else 1, clock, precision)


if __name__ == "__main__":
    main()
