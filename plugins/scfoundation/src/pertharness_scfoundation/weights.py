"""The published files, and the pretrained network made of them: each key accounted for, sizes as the file states."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import DataError, RemoteFile

if TYPE_CHECKING:
    from pertharness_foundation.checkpoint import KeyRules
    from torch import Tensor

    from pertharness_scfoundation.network import Dimensions, ScFoundation

FOLDER = (
    "https://hopebio2020.sharepoint.com/:f:/s/PublicSharedfiles/EmUQnvZMETlDvoCaBduCNeIBQArcOrd8T8iEpiGofFZ9CQ?e=3SpPZU"
)
"""The authors' folder, a page for browsers: there is no open direct link."""
CHECKPOINT = RemoteFile(
    url=FOLDER, filename="models.ckpt", size_mb=1432.588, optional=True,
    by_hand="download models.ckpt (1.43 GB) from the list of files",
    sha256="9f40bf324d3d0084c4b288d06f5af4fddd12206e2a3f022551d12e89e33a0ea9",
    licence="scFoundation License (non-commercial research only, not transferable, revocable, no redistribution)",
)  # fmt: skip
GENE_LIST = RemoteFile(
    url="https://raw.githubusercontent.com/biomap-research/scFoundation/main/OS_scRNA_gene_index.19264.tsv",
    filename="OS_scRNA_gene_index.19264.tsv", size_mb=0.228, licence="Apache-2.0", optional=True,
    sha256="bb337ea195d94e7b033543abc02a42e7060d6562eba97deb077f7dcecec62661",
)  # fmt: skip
SUB_MODEL = "gene"
"""The one of the three networks in the file (gene, cell, rde) that the published graph model uses."""
PREFIX = "model."
REPLACED = {"checkpoint": (CHECKPOINT.wanted,)}
"""Parameter -> the published file that it replaces: a model with another checkpoint is named ``(test weights)``."""


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint that was read, and how many tensors became what.

    Attributes
    ----------
    network
        In evaluation mode, on the CPU, memory-mapped, without gradients.
    note
        A line for the record.
    """

    network: ScFoundation
    note: str


def read_gene_list(path: Path) -> tuple[str, ...]:
    """Return the genes of a gene list, in the order of the network's positions.

    Raises
    ------
    DataError
        If it is no table with the columns ``gene_name`` and ``index``, or is not in the order of the index.
    """
    from pertharness_foundation.contents import read_text

    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t")
        if not {"gene_name", "index"} <= set(reader.fieldnames or ()):
            raise DataError(
                f"scfoundation: {path.name} has the columns {', '.join(reader.fieldnames or ()) or 'none'}; "
                "expected gene_name and index, with tabs between them"
            )
        rows = [(row["gene_name"], row["index"]) for row in reader]
    except csv.Error as error:
        raise DataError(f"scfoundation: {path.name} cannot be read as a gene list: {error}") from None
    seen: set[str] = set()
    for number, (gene, index) in enumerate(rows):
        if index != str(number) or not gene or gene in seen:
            raise DataError(
                f"scfoundation: {path.name}, row {number + 2}: gene {gene!r}, index {index!r}; expected each gene "
                f"once and the index {number}: the rows are the positions of the network"
            )
        seen.add(gene)
    return tuple(gene for gene, _ in rows)


def read_dimensions(content: Any, source: str) -> Dimensions:
    """Return the sizes in the configuration of a checkpoint; values of the data set's part win, as published.

    Raises
    ------
    CheckpointError
        If the file has another layout, or the configuration lacks a size.
    """
    from pertharness_foundation.checkpoint import CheckpointError

    from pertharness_scfoundation.network import EXTRA, Dimensions

    try:
        config = content[SUB_MODEL]["config"]
        flat = {**config["model_config"][config["model"]], **next(iter(config["dataset_config"].values()))}
        encoder, decoder = dict(flat["encoder"]), dict(flat["decoder"])
        for name, part, kind in (("encoder", encoder, "transformer"), ("decoder", decoder, "performer")):
            if part.get("module_type", part.get("type", kind)) != kind or part.get("norm_first", False):
                raise ValueError(f"its {name} is {part}; expected a {kind} with norm_first False")
        sizes = Dimensions(
            n_genes=int(flat["seq_len"]) - EXTRA, bins=int(flat["bin_num"]), bin_alpha=float(flat["bin_alpha"]),
            pad_token=float(flat["pad_token_id"]), mask_token=float(flat["mask_token_id"]),
            encoder_width=int(encoder["hidden_dim"]), encoder_depth=int(encoder["depth"]),
            encoder_heads=int(encoder["heads"]), decoder_width=int(decoder["hidden_dim"]),
            decoder_depth=int(decoder["depth"]), decoder_heads=int(decoder["heads"]),
            decoder_head_width=int(decoder["dim_head"]),
        )  # fmt: skip
        _check_sizes(sizes)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, StopIteration) as error:
        raise CheckpointError(
            f"{source} is not the published layout: its {SUB_MODEL!r} has no complete configuration "
            f"({type(error).__name__}: {error}); expected models.ckpt with 'config' and 'state_dict' of each sub-model"
        ) from None
    return sizes


def _check_sizes(sizes: Dimensions) -> None:
    """Raise ValueError if a network cannot have these sizes."""
    for name, value in asdict(sizes).items():
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    if sizes.encoder_width % sizes.encoder_heads:
        raise ValueError(f"the encoder's width {sizes.encoder_width} is no multiple of its {sizes.encoder_heads} heads")


def key_rules() -> KeyRules:
    """Return what becomes of the published keys, without their prefix: all are loaded."""
    from pertharness_foundation.checkpoint import KeyRules

    return KeyRules(
        loads=(
            "token_emb.*", "pos_emb.weight", "decoder_embed.*", "norm.*", "to_final.*", "encoder.transformer_encoder.*",
            "encoder.norm.*", "decoder.performer.*", "decoder.norm.*",
        )
    )  # fmt: skip


def read_pretrained(path: Path, genes: tuple[str, ...]) -> Pretrained:
    """Read the network of a checkpoint.

    Parameters
    ----------
    path
        A file in the layout of ``models.ckpt``.
    genes
        The gene list, which has to be as long as the network's sequence without its two last positions.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or a key is absent, unknown or misshapen, or the gene list is that of another one.
    """
    import torch
    from pertharness_foundation.checkpoint import load_state

    from pertharness_scfoundation.network import ScFoundation

    state, sizes = _read_state(path, genes)
    with torch.device("meta"):
        network = ScFoundation(sizes)
    counts = load_state(network, state, key_rules(), source=path.name, assign=True)
    return Pretrained(network.eval().requires_grad_(False), counts.note())


def read_gene_table(path: Path, genes: tuple[str, ...]) -> Tensor:
    """Return the positional table of the genes of a checkpoint, shape (n_genes, width): the paper's gene embedding.

    Raises
    ------
    CheckpointError
        As for `read_pretrained`; here all keys are checked, too.
    """
    return read_pretrained(path, genes).network.pos_emb.weight[: len(genes)]


def _read_state(path: Path, genes: tuple[str, ...]) -> tuple[dict[str, Tensor], Dimensions]:
    from pertharness_foundation.checkpoint import CheckpointError, read_checkpoint, state_dict_in

    content = read_checkpoint(path)
    state = state_dict_in(content, source=path.name, at=(SUB_MODEL, "state_dict"), prefix=PREFIX)
    sizes = read_dimensions(content, path.name)
    if sizes.n_genes != len(genes):
        raise CheckpointError(
            f"{path.name} is for {sizes.n_genes} genes, and the gene list has {len(genes)}: they belong to different "
            "versions; name the gene list of this checkpoint: scfoundation[gene_list=/PATH/FILE.tsv]"
        )
    return state, sizes
