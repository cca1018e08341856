"""A checkpoint of random weights in the published layout: what tests load by the path that the real one takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pertharness_foundation.tiny import random_state, random_tensor, write_json, write_torch

from pertharness_scgpt.network import Network, Sizes, read_sizes
from pertharness_scgpt.vocabulary import SPECIALS
from pertharness_scgpt.weights import ARGUMENTS, CHECKPOINT, VOCABULARY, Files

ARGS = {
    "input_style": "binned", "input_emb_style": "continuous", "n_bins": 51, "max_seq_len": 1200, "pad_token": "<pad>",
    "embsize": 16, "nheads": 2, "d_hid": 16, "nlayers": 2, "n_layers_cls": 3, "dropout": 0.2, "MVC": True,
}  # fmt: skip
"""What a published ``args.json`` has, with sizes that compute in no time."""
_OF_CHECKPOINT = ("encoder.", "value_encoder.", "transformer_encoder.", "decoder.")


def write_tiny(folder: Path, genes: Sequence[str], seed: int = 0) -> Files:
    """Write ``best_model.pt``, ``vocab.json`` and ``args.json`` with random weights, and return their paths.

    Parameters
    ----------
    genes
        Symbols of the vocabulary; the three special tokens follow them, in rows out of the order of the file.
    """
    tokens = [*dict.fromkeys(genes), *SPECIALS]
    rows = {token: row for row, token in enumerate(tokens)}
    sizes = read_sizes(ARGS, tokens=len(tokens), padding=rows[SPECIALS[0]])
    files = Files(folder / CHECKPOINT.filename, folder / VOCABULARY.filename, folder / ARGUMENTS.filename)
    write_torch(files.checkpoint, tiny_state(sizes, seed))
    write_json(files.vocabulary, dict(sorted(rows.items(), reverse=True)))
    write_json(files.arguments, ARGS)
    return files


def tiny_state(sizes: Sizes, seed: int) -> dict[str, torch.Tensor]:
    """Return random tensors by the published keys, with those of the pretraining that the network does not have."""
    with torch.device("meta"):
        network = Network(sizes)
    state = random_state(network, seed, rename=lambda key: key.replace("in_proj_", "Wqkv."))
    kept = {key: value for key, value in state.items() if key.startswith(_OF_CHECKPOINT)}
    width = sizes.width
    others = {
        "flag_encoder.weight": (2, width), "mvc_decoder.gene2query.weight": (width, width),
        "mvc_decoder.gene2query.bias": (width,), "mvc_decoder.W.weight": (width, width),
    }  # fmt: skip
    return kept | {key: random_tensor(key, shape, seed) for key, shape in others.items()}
