"""Time UCE beside the plainest correct form of the same network, random weights, published size.

    ENVIRONMENT/bin/python benchmarks/uce.py [--device cuda] [--seconds 60] [--check] [--file] [--small]

Run with the Python of the plugin's environment (``pertharness env build uce``). In one run: making sentences of 10 000
cells of 19 264 genes; embedding cells by the plugin, and by a form without any of its means (rows of the table for each
word of each sentence, attention as matrices, all positions through all layers). On a CPU as many cells as the plain
form embeds in that time, at least 2; on a GPU 1 000. ``--check`` compares embeddings in bfloat16 with those in float32.
``--file`` writes a file as large as the published one (3.4 GB), and reports the memory of a process that reads it. A
figure is a line of JSON.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from device_clock import Clock, report
from pertharness_foundation.device import Precision
from pertharness_foundation.tiny import random_state
from pertharness_uce.cells import Preparation, prepare
from pertharness_uce.embedder import Embedder, TokenVectors, encode_tokens
from pertharness_uce.network import Network, Sizes, padding_bias
from pertharness_uce.sentences import Places, Sentences, draw_sentences
from pertharness_uce.tiny import TINY, write_tiny
from pertharness_uce.weights import Files, published_sizes, read_published
from scipy import sparse
from torch.nn import functional as F

N_GENES, N_CHROMOSOMES = 19_264, 25
FIRST_CHROMOSOME = N_GENES + 4
N_OTHERS = 126_000
"""Genes of other species in the published table, about."""
FEW = 6
"""Of so many genes a cell expresses one."""
PAPER = Preparation(np.arange(N_GENES), "sampled", "truncate", 10, 25)


def make_counts(n_cells: int) -> sparse.csr_matrix:
    """Return made-up counts, shape (n_cells, N_GENES)."""
    rng = np.random.default_rng(0)
    each = N_GENES // FEW
    columns = rng.integers(0, FEW, (n_cells, each), dtype=np.int32) + FEW * np.arange(each, dtype=np.int32)
    values = rng.integers(1, 9, n_cells * each).astype(np.float64)
    return sparse.csr_matrix((values, columns.ravel(), each * np.arange(n_cells + 1)), (n_cells, N_GENES))


def make_places() -> Places:
    """Return made-up places of genes on as many chromosomes as human genes lie on."""
    rng = np.random.default_rng(1)
    tokens, chromosomes = rng.permutation(N_GENES) + 4, rng.integers(0, N_CHROMOSOMES, N_GENES)
    return Places(tokens, chromosomes, rng.permutation(10 * N_GENES)[:N_GENES], FIRST_CHROMOSOME)


def make_sentences(n_cells: int, sample_size: int) -> Sentences:
    """Return sentences of made-up cells."""
    whole, _ = prepare(make_counts(max(n_cells, 20)), PAPER)
    rng = np.random.RandomState(0)
    return draw_sentences(whole[:n_cells], make_places(), rng, sample_size=sample_size, positions=1536)


def time_sentences(n_cells: int) -> None:
    """Time filtering, rounding and sampling, in processor time of one thread."""
    counts, places, rng = make_counts(n_cells), make_places(), np.random.RandomState(0)
    start, wall = time.process_time(), time.perf_counter()
    for first in range(0, n_cells, 100):  # the cells of a condition
        whole, _ = prepare(counts[first : first + 100], PAPER)
        draw_sentences(whole, places, rng, sample_size=1024, positions=1536)
    report(
        "sentences", cells=n_cells, genes=N_GENES, processor_s=time.process_time() - start,
        wall_s=time.perf_counter() - wall,
    )  # fmt: skip


def plain_attention(x: torch.Tensor, layer: torch.nn.Module, heads: int, bias: torch.Tensor | None) -> torch.Tensor:
    """Return self-attention written as matrices."""
    n_cells, length, width = x.shape
    projected = F.linear(x, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias).chunk(3, dim=-1)
    query, key, value = (part.view(n_cells, length, heads, -1).transpose(1, 2) for part in projected)
    scores = query @ key.transpose(-2, -1) / math.sqrt(width // heads)
    weights = torch.softmax(scores if bias is None else scores + bias, dim=-1)
    mixed: torch.Tensor = layer.self_attn.out_proj((weights @ value).transpose(1, 2).reshape(n_cells, length, width))
    return mixed


def plain_forward(network: Network, table: torch.Tensor, sentences: Sentences, row: int) -> torch.Tensor:
    """Return the embedding of a cell as the description says it: every word and every position by itself."""
    words = torch.from_numpy(sentences.tokens[row : row + 1]).to(table.device)
    bias = padding_bias(torch.from_numpy(sentences.mask()[row : row + 1]).to(table.device), masked=False)
    x = network.encode_tokens(table[words].float()) + network.pos_encoder.pe[: words.shape[1], 0]
    for layer in network.transformer_encoder.layers:
        x = layer.norm1(x + plain_attention(x, layer, network.sizes.heads, bias))
        x = layer.norm2(x + layer.linear2(F.relu(layer.linear1(x))))
    return F.normalize(network.decoder(x)[:, 0], dim=-1)


def embed_plain(network: Network, table: torch.Tensor, sentences: Sentences) -> np.ndarray:
    """Return the embeddings of cells, one after another."""
    with torch.inference_mode():
        rows = [plain_forward(network, table, sentences, row).cpu() for row in range(len(sentences.tokens))]
    return torch.cat(rows).numpy()


def known_of(network: Network, table: torch.Tensor) -> TokenVectors:
    """Return what all tokens bring to the first layer."""
    with torch.inference_mode():
        parts = [network.encode_tokens(part) for part in table.split(1024)]
    return TokenVectors(np.arange(len(table)), torch.cat(parts))


def time_cells(network: Network, table: torch.Tensor, seconds: float, clock: Clock, precision: Precision) -> None:
    """Compare the embedding of cells with the plain form; that of the tokens, once for all cells, apart."""
    sentences = make_sentences(1_000, 1024 if network.sizes.width > TINY.width else 48)
    few = replace(sentences, tokens=sentences.tokens[:1], lengths=sentences.lengths[:1])
    known: dict[str, TokenVectors] = {}
    encoding = clock.seconds(lambda: known.update(all=known_of(network, table)))
    embedder = Embedder(network, known["all"], clock.device, precision, masked=False)
    one = clock.seconds(lambda: embed_plain(network, table, few))
    n_cells = 1_000 if clock.device.type == "cuda" else max(2, min(1_000, int(seconds / one)))
    cells = replace(sentences, tokens=sentences.tokens[:n_cells], lengths=sentences.lengths[:n_cells])
    results: dict[str, np.ndarray] = {}
    embedder.embed(few)
    ours = clock.seconds(lambda: results.update(ours=embedder.embed(cells)))
    plain = clock.seconds(lambda: results.update(plain=embed_plain(network, table, cells)))
    work = flops_of(network.sizes, cells.tokens.shape[1])
    report(
        "cells", layers=network.sizes.layers, length=cells.tokens.shape[1], cells=n_cells, precision=precision,
        cells_per_s=n_cells / ours, plain_cells_per_s=n_cells / plain, ratio_of_time=ours / plain,
        largest_difference=float(np.abs(results["ours"] - results["plain"]).max()), tokens_encoded_s=encoding,
        tflops=work * n_cells / ours / 1e12, conditions_of_100_cells_per_hour=36 * n_cells / ours,
    )  # fmt: skip


def flops_of(sizes: Sizes, length: int) -> float:
    """Return the floating-point operations of a cell that the plugin does: the last layer for one position alone."""
    width = sizes.width
    dense = 2 * length * (4 * width**2 + 2 * width * sizes.hidden)
    return float((sizes.layers - 1) * (dense + 4 * length**2 * width) + 2 * length * 2 * width**2)


def check_bfloat16(network: Network, table: torch.Tensor, device: torch.device) -> None:
    """Compare means over 100 cells in bfloat16 with those in float32."""
    sentences, known = make_sentences(200, 1024), known_of(network, table)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    exact, rounded = (Embedder(network, known, device, each, masked=False).embed(sentences) for each in precisions)
    means = [cells.reshape(2, 100, -1).mean(axis=1) for cells in (exact, rounded)]
    changes = [mean[1] - mean[0] for mean in means]
    report(
        "bfloat16", largest_difference=float(np.abs(means[0] - means[1]).max()),
        correlation_of_changes=float(np.corrcoef(*changes)[0, 1]), needed="0.02 and 0.999",
    )  # fmt: skip


def peak_mb() -> float:
    """Return the largest resident memory of this process, mapped pages of files included."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def report_memory(folder: Path) -> None:
    """Report time and peak memory of this process when it reads a checkpoint and embeds the cells of a batch."""
    files = Files(*(Path(folder) / name for name in (
        "4layer_model.torch", "Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt", "species_chrom.csv",
        "species_offsets.pkl",
    )))  # fmt: skip
    before, start = peak_mb(), time.perf_counter()
    published = read_published("uce", files)
    reading = time.perf_counter() - start
    genes = np.array(list(published.vocabulary.tokens.values()))
    places = replace(make_places(), tokens=genes, first_chromosome=published.first_chromosome)
    places = replace(places, chromosomes=places.chromosomes % published.vocabulary.n_chromosomes)
    device = torch.device("cpu")
    known = encode_tokens(published, places, device)
    read = peak_mb()
    whole, _ = prepare(make_counts(100)[:20], replace(PAPER, min_cells=1))
    sentences = draw_sentences(whole[:4], places, np.random.RandomState(0), sample_size=1024, positions=1536)
    Embedder(published.network, known, device, "float32", masked=False).embed(sentences)
    report("memory", tokens=len(published.table), reading_s=reading, start_mb=before, read_mb=read, peak_mb=peak_mb())


def time_file(small: bool) -> None:
    """Write a file of the published size, and start a process that reads it."""
    sizes, n_others = (TINY, 3) if small else (published_sizes("uce"), N_OTHERS)
    with TemporaryDirectory() as folder:
        files = write_tiny(Path(folder), [f"G{number}" for number in range(N_GENES)], sizes=sizes, n_others=n_others)
        report("file", size_gb=files.checkpoint.stat().st_size / 1e9)
        subprocess.run([sys.executable, __file__, "--memory-of", folder], check=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--layers", type=int, default=4, help="4, or 33 of the large checkpoint")
    parser.add_argument("--check", action="store_true", help="compare bfloat16 with float32")
    parser.add_argument("--file", action="store_true", help="write a file of published size, and report memory")
    parser.add_argument("--small", action="store_true", help="a network that computes in no time, to try the script")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        report_memory(options.memory_of)
        return
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    report("machine", device=torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads",
           torch=torch.__version__)  # fmt: skip
    time_sentences(1_000 if options.small else 10_000)
    if options.file:
        time_file(options.small)
    sizes = TINY if options.small else replace(published_sizes("uce"), layers=options.layers)
    with torch.device("meta"):
        network = Network(sizes)
    network.load_state_dict(random_state(network, 0), assign=True)
    network = network.to(device).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(FIRST_CHROMOSOME + N_CHROMOSOMES, sizes.token_width, generator=generator).to(device)
    clock = Clock(device)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16") if on_gpu else ("float32",)
    for precision in precisions:
        time_cells(network, table, options.seconds, clock, precision)
    if options.check:
        check_bfloat16(network, table, device)


if __name__ == "__main__":
    main()
