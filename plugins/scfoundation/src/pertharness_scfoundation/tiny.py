"""Write a small checkpoint of random weights, with its gene list, in the published layout: for tests and trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pertharness_foundation.tiny import random_state, write_torch

from pertharness_scfoundation.network import Dimensions, ScFoundation
from pertharness_scfoundation.weights import CHECKPOINT, GENE_LIST, PREFIX, SUB_MODEL

PUBLISHED = Dimensions(
    n_genes=19_264, bins=100, bin_alpha=1.0, pad_token=103, mask_token=102, encoder_width=768, encoder_depth=12,
    encoder_heads=12, decoder_width=512, decoder_depth=6, decoder_heads=8, decoder_head_width=64,
)  # fmt: skip
"""Sizes of the published network, by the log of its loader."""
TINY = Dimensions(
    n_genes=0, bins=10, bin_alpha=1.0, pad_token=103, mask_token=102, encoder_width=16, encoder_depth=1,
    encoder_heads=2, decoder_width=16, decoder_depth=1, decoder_heads=2, decoder_head_width=8,
)  # fmt: skip


def config_of(sizes: Dimensions) -> dict[str, Any]:
    """Return the configuration of a sub-model in the published layout."""
    encoder = {
        "hidden_dim": sizes.encoder_width, "depth": sizes.encoder_depth, "heads": sizes.encoder_heads,
        "dim_head": sizes.encoder_width // sizes.encoder_heads, "seq_len": sizes.length, "module_type": "transformer",
        "norm_first": False,
    }  # fmt: skip
    decoder = {
        "hidden_dim": sizes.decoder_width, "depth": sizes.decoder_depth, "heads": sizes.decoder_heads,
        "dim_head": sizes.decoder_head_width, "seq_len": sizes.length, "module_type": "performer", "norm_first": False,
    }  # fmt: skip
    model = {
        "encoder": encoder, "decoder": decoder, "n_class": int(sizes.pad_token) + 1, "seq_len": sizes.length,
        "pad_token_id": int(sizes.pad_token), "mask_token_id": int(sizes.mask_token), "bin_num": sizes.bins,
        "bin_alpha": sizes.bin_alpha,
    }  # fmt: skip
    data = {"bin_num": sizes.bins, "bin_type": "auto_bin"}
    return {"model": "mae_autobin", "model_config": {"mae_autobin": model}, "dataset_config": {"rnaseq": data}}


def write_tiny(folder: Path, genes: Sequence[str], *, seed: int = 0, sizes: Dimensions = TINY) -> tuple[Path, Path]:
    """Write a checkpoint of random weights for some genes, and their gene list.

    Returns
    -------
    tuple of Path
        ``models.ckpt`` and the gene list, under the names of the published files.
    """
    sizes = replace(sizes, n_genes=len(genes))
    with torch.device("meta"):
        network = ScFoundation(sizes)
    state = random_state(network, seed, rename=lambda key: PREFIX + key)
    checkpoint, gene_list = folder / CHECKPOINT.filename, folder / GENE_LIST.filename
    write_torch(checkpoint, {SUB_MODEL: {"config": config_of(sizes), "state_dict": state}})
    rows = [f"{gene}\t{number}" for number, gene in enumerate(genes)]
    gene_list.write_text("\n".join(["gene_name\tindex", *rows]) + "\n", encoding="utf-8")
    return checkpoint, gene_list
