"""Write a small checkpoint of random weights, with its gene list, in the published layout: for tests and trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pertharness_foundation.performer import draw_projection
from pertharness_foundation.tiny import random_state, write_json, write_torch

from pertharness_scbert.network import ScBert, Sizes
from pertharness_scbert.weights import CHECKPOINT, GENE_LIST, INSIDE

TINY = Sizes(n_genes=0, n_tokens=16, dim=16, depth=2, heads=2, dim_head=8, n_features=16)
"""More steps of expression than published: counts per 10 000 of few genes are large, and would all be the highest."""


def write_tiny(folder: Path, genes: Sequence[str], *, seed: int = 0, sizes: Sizes = TINY) -> tuple[Path, Path]:
    """Write a checkpoint of random weights for some genes, and their gene list.

    Returns
    -------
    tuple of Path
        ``panglao_pretrain.pth`` and ``vocab.json``, under the names of the published files.
    """
    sizes = replace(sizes, n_genes=len(genes))
    with torch.device("meta"):
        network = ScBert(sizes)
    state = random_state(network, seed)
    for table in ("token_emb.weight", "pos_emb.emb.weight"):
        # Smaller ones would make all encodings alike, and the classifier's first layer 0 at all of them.
        state[table] *= sizes.dim**0.5
    state["pos_emb.emb.weight"][-1] = 0  # as published: the last position is that of no gene
    generator = torch.Generator().manual_seed(seed)
    for key in state:
        if key.endswith("projection_matrix"):  # random features have lengths that other weights do not have
            state[key] = draw_projection(sizes.n_features, sizes.dim_head, generator)
    checkpoint, gene_list = folder / CHECKPOINT.filename, folder / GENE_LIST.filename
    content = {"epoch": 1, INSIDE: state, "optimizer_state_dict": {}, "scheduler_state_dict": {}, "losses": 0.0}
    write_torch(checkpoint, content)
    write_json(gene_list, {gene: number for number, gene in enumerate(genes)})
    return checkpoint, gene_list
