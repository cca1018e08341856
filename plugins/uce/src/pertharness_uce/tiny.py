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
HUMAN, MOUSE = ("1", "2", "X", "MT"), ("1", "2", "X")
"""Chromosomes of the two species in the files."""


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


def write_tiny(folder: Path, genes: Sequence[str], seed: int = 0, *, sizes: Sizes = TINY, n_others: int = 3) -> Files:
    """Write a checkpoint of random weights for some genes, and the three files beside it; return their paths.

    The genes lie on four chromosomes, in their order.

    Parameters
    ----------
    n_others
        Genes of another species, whose tokens come before the human ones.
    """
    genes = list(dict.fromkeys(genes))
    first = FIRST_GENE + n_others
    files = Files(
        folder / CHECKPOINT.filename, folder / SYMBOLS.wanted, folder / CHROMOSOMES.filename, folder / OFFSETS.filename
    )
    rows = [(SPECIES, gene, HUMAN[number % len(HUMAN)], 1000 + 10 * number) for number, gene in enumerate(genes)]
    rows += [("mouse", f"Gene{number}", MOUSE[number % len(MOUSE)], number) for number in range(n_others)]
    n_chromosomes = len({(species, chromosome) for species, _, chromosome, _ in rows})
    write_torch(files.checkpoint, tiny_state(sizes, first + len(genes) + n_chromosomes, seed))
    write_torch(files.symbols, {gene: torch.zeros(sizes.token_width) for gene in genes})
    lines = [",".join(map(str, (number, *row))) for number, row in enumerate(rows)]
    text = "\n".join([",species,gene_symbol,chromosome,start", *lines])
    files.chromosomes.write_text(text + "\n", encoding="utf-8")
    files.offsets.write_bytes(pickle.dumps({"mouse": FIRST_GENE, SPECIES: first}))
    return files
