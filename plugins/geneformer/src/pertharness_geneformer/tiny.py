"""A checkpoint of random weights in the published layout: what tests load by the path that the real one takes."""

from __future__ import annotations

import pickle
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pertharness_foundation.tiny import random_state, write_json, write_safetensors

from pertharness_geneformer.dictionaries import SPECIALS
from pertharness_geneformer.network import make_pretrained
from pertharness_geneformer.weights import CHECKPOINT, CONFIG, MAPPING, MEDIANS, TOKENS, Files, Sizes

TINY = Sizes(
    vocab_size=0, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=256, type_vocab_size=2, hidden_dropout_prob=0.02, attention_probs_dropout_prob=0.02,
    layer_norm_eps=1e-12,
)  # fmt: skip
"""Sizes that compute in no time; the number of tokens is that of the genes."""
_TIED = "cls.predictions.decoder."


def write_tiny(folder: Path, genes: Sequence[str], seed: int = 0, sizes: Sizes = TINY) -> Files:
    """Write weights, ``config.json`` and the three dictionaries with random content, and return their paths.

    Parameters
    ----------
    genes
        Symbols; each gets an Ensembl id of its own, made up, which the dictionaries have, too.
    """
    names = list(dict.fromkeys(genes))
    ids = {name: made_up_id(number) for number, name in enumerate(names)}
    tokens = {token: row for row, token in enumerate([*SPECIALS, *ids.values()])}
    draws = random.Random(seed)
    # As published, numbers are scalars of numpy here and there; more genes have a median than a token.
    medians = {known: np.float64(draws.uniform(0.5, 2.0)) for known in [*ids.values(), made_up_id(len(names))]}
    mapping = {name.upper(): known for name, known in ids.items()} | {known: known for known in ids.values()}
    checkpoint, config, own_tokens, own_mapping, own_medians = (
        folder / file.filename for file in (CHECKPOINT, CONFIG, TOKENS, MAPPING, MEDIANS)
    )
    files = Files(checkpoint, config, own_tokens, own_mapping, own_medians)
    sizes = replace(sizes, vocab_size=len(tokens))
    write_safetensors(files.checkpoint, tiny_state(sizes, seed))
    write_json(files.config, tiny_config(sizes))
    for path, content in ((own_tokens, tokens), (own_mapping, mapping), (own_medians, medians)):
        write_pickle(path, content)
    return files


def made_up_id(number: int) -> str:
    """Return an Ensembl id that no gene has."""
    return f"ENSG{90_000_000_000 + number:011d}"


def tiny_state(sizes: Sizes, seed: int) -> dict[str, torch.Tensor]:
    """Return random tensors by the published keys; the two that are shared with others are not stored."""
    with torch.device("meta"):
        network = make_pretrained(sizes)
    state = random_state(network, seed)
    return {key: value for key, value in state.items() if not key.startswith(_TIED)}


def tiny_config(sizes: Sizes) -> dict[str, Any]:
    """Return what a published ``config.json`` has."""
    return {
        "architectures": ["BertForMaskedLM"], "model_type": "bert", **asdict(sizes), "hidden_act": "relu",
        "initializer_range": 0.02, "pad_token_id": 0, "position_embedding_type": "absolute", "torch_dtype": "float32",
        "transformers_version": "4.37.2", "use_cache": True,
    }  # fmt: skip


def write_pickle(path: Path, content: Mapping[str, Any]) -> None:
    """Write a dictionary as the published ones are."""
    path.write_bytes(pickle.dumps(dict(content), protocol=4))
