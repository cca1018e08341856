"""A checkpoint of random weights in the published layout, with the files beside it: for tests and trials."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from pertharness_foundation.tiny import random_state, random_tensor, write_torch

from pertharness_uce.network import HEADS, Network, Sizes
from pertharness_uce.vocabulary import FIRST_GENE, SPECIES
from pertharness_uce.weights import CHECKPOINT, CHROMOSOMES, OFFSETS, SYMBOLS, TABLE, Files

TINY = Sizes(token_width=24, width=40, heads=HEADS, hidden=48, layers=2, inner=32, output=40, positions=1536)
_OTHERS = 3
"""Genes of another species, whose tokens come before the human ones."""
_CHROMOSOMES = ("1", "2", "X", "MT")


def other_shapes(sizes: Sizes, n_tokens: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the published keys that the network does not have: the token table, and what is not used."""
    widths = [2 * sizes.output, 2048, 512, 128]
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes |= {f"binary_decoder.{number}.0.weight": (outputs, inputs)}
        shapes |= {f"binary_decoder.{number}.{part}": (outputs,) for part in ("0.bias", "1.weight", "1.bias")}
    shapes |= {"binary_decoder.3.weight": (1, widths[-1]), "binary_decoder.3.bias": (1,)}
    shapes |= {"gene_embedding_layer.0.weight": (sizes.width, sizes.token_width)}
    shapes |= {f"gene_embedding_layer.{part}": (sizes.width,) for part in ("0.bias", "2.weight", "2.bias")}
    return shapes | {TABLE: (n_tokens, sizes.token_width)}


def tiny_state(sizes: Sizes, n_tokens: int, seed: int) -> dict[str, torch.Tensor]:
    """Return random tensors by the published keys."""
    with torch.device("meta"):
        network = Network(sizes)
    others = {key: random_tensor(key, shape, seed) for key, shape in other_shapes(sizes, n_tokens).items()}
    return random_state(network, seed) | others


def write_tiny(folder: Path, genes: Sequence[str], seed: int = 0, *, sizes: Sizes = TINY) -> Files:
    """Write a checkpoint of random weights for some genes, and the three files beside it; return their paths.

    Their tokens follow those of another species; the genes lie on four chromosomes, in their order.
    """
    genes = list(dict.fromkeys(genes))
    first = FIRST_GENE + _OTHERS
    rows = [f"{SPECIES},{gene},{_CHROMOSOMES[number % len(_CHROMOSOMES)]},{1000 + 10 * number}"
            for number, gene in enumerate(genes)]  # fmt: skip
    rows += [f"mouse,Gene{number},{number + 1},{number}" for number in range(_OTHERS)]
    n_chromosomes = len({(row.split(",")[0], row.split(",")[2]) for row in rows})
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(
        folder / CHECKPOINT.filename, folder / SYMBOLS.wanted, folder / CHROMOSOMES.filename, folder / OFFSETS.filename
    )
    write_torch(files.checkpoint, tiny_state(sizes, first + len(genes) + n_chromosomes, seed))
    write_torch(files.symbols, {gene: torch.zeros(sizes.token_width) for gene in genes})
    files.chromosomes.write_text("\n".join([",species,gene_symbol,chromosome,start", *(f"{number},{row}" for number, row
                                 in enumerate(rows))]) + "\n", encoding="utf-8")  # fmt: skip
    files.offsets.write_bytes(pickle.dumps({"mouse": FIRST_GENE, SPECIES: first}))
    return files
