"""The published files, and the network made of them: each key accounted for, sizes as the tensors have them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pertharness import RemoteFile, Skip
from pertharness_foundation.contents import published_file

if TYPE_CHECKING:
    from pertharness_foundation.checkpoint import KeyRules
    from torch import Tensor

    from pertharness_scbert.network import ScBert, Sizes
    from pertharness_scbert.settings import FileNames

CHECKPOINT = RemoteFile(
    url="https://drive.weixin.qq.com/s?k=AJEAIQdfAAoUxhXE7r", filename="panglao_pretrain.pth", size_mb=87.632,
    optional=True,
    by_hand="log in and download panglao_pretrain.pth (88 MB), or take a copy with the same sha256 (README)",
    sha256="aa27109136580b24a1b985f63d0ba31f22490d09e71b13d1793cbff38619dfe3",
    licence="GPL-3.0 (the repository's; it adds: research purpose, not approved for clinical use)",
)  # fmt: skip
# The authors publish the order of the genes inside data sets of up to 11 GB only.
GENE_LIST = RemoteFile(
    url="https://huggingface.co/kaichenxu/cape_scbert", filename="vocab.json",
    by_hand="download vocab.json, or make it of the var_names of the authors' panglao_10000.h5ad (README)",
)  # fmt: skip
SYMBOLS_SHA256 = "4c09ba1912e184682fe5e7f32e2b443bdfb7883d0d0191551b38c6c2f155600f"
"""Of the 16 906 symbols of the published checkpoint in their order, joined by newlines, as reported for its copies."""
REPLACED = {"checkpoint": (CHECKPOINT.wanted,), "gene_list": (GENE_LIST.wanted,)}
"""Parameter -> the published file that it replaces: a model with another checkpoint is named ``(test weights)``."""
INSIDE = "model_state_dict"
"""Where the tensors are in the published file, beside the state of the optimiser."""
_LAYER = re.compile(r"performer\.net\.layers\.(\d+)\.")
_OF_PRETRAINING = ("to_out.*",)


@dataclass(frozen=True)
class Published:
    """The tensors of a checkpoint and the genes of its positions.

    Attributes
    ----------
    state
        By published key, memory-mapped.
    source
        Name of the file, for messages.
    note
        What is known of the gene list, a line for the record.
    """

    state: Mapping[str, Tensor]
    sizes: Sizes
    genes: tuple[str, ...]
    source: str
    note: str


def read_published(files: Mapping[str, Path], named: FileNames, *, any_order: bool) -> Published:
    """Read a checkpoint and its gene list; `any_order` takes a list of unknown order for the published one, too.

    Raises
    ------
    Skip
        If a file is absent.
    CheckpointError
        If the checkpoint cannot be read or has another layout, or the gene list is that of another one.
    """
    from pertharness import read_gene_list
    from pertharness_foundation.checkpoint import read_checkpoint, state_dict_in

    path = published_file("scbert", files, CHECKPOINT, named.checkpoint, "checkpoint")
    genes = tuple(read_gene_list(published_file("scbert", files, GENE_LIST, named.gene_list, "gene_list")))
    content = read_checkpoint(path)
    at = (INSIDE,) if isinstance(content, Mapping) and INSIDE in content else ()
    state = state_dict_in(content, source=path.name, at=at)
    sizes = read_sizes(state, path.name)
    is_published = not (named.checkpoint or named.gene_list)
    note = check_genes(genes, sizes, path.name, must_be_known=is_published and not any_order)
    return Published(state, sizes, genes, path.name, note)


def check_genes(genes: Sequence[str], sizes: Sizes, source: str, *, must_be_known: bool) -> str:
    """Return what is known of a gene list, a line for the record.

    Parameters
    ----------
    must_be_known
        Whether its order has to be that of the published checkpoint.

    Raises
    ------
    CheckpointError
        If it is of another size than the checkpoint, or not known.
    """
    from pertharness_foundation.contents import CheckpointError

    if len(genes) != sizes.n_genes:
        raise CheckpointError(
            f"{source} is for {sizes.n_genes} genes, and the gene list has {len(genes)}: they belong to different "
            "versions; name the gene list of this checkpoint: scbert[gene_list=/PATH/FILE]"
        )
    digest = hashlib.sha256("\n".join(genes).encode()).hexdigest()
    if digest == SYMBOLS_SHA256:
        return f"gene list: the {len(genes)} symbols and their order are those known for the published checkpoint"
    if must_be_known:
        raise CheckpointError(
            f"the gene list has {len(genes)} symbols, and their sha256 is {digest[:12]}...; for {source} that of "
            f"{SYMBOLS_SHA256[:12]}... is known: other genes, or another order, would give each gene the vector of "
            "another one. If the list is the var_names of the authors' own file, set any_order = true"
        )
    return (
        f"gene list: the sha256 of its {len(genes)} symbols, {digest[:12]}..., is not that known for the published one"
    )


def read_sizes(state: Mapping[str, Tensor], source: str) -> Sizes:
    """Return the sizes of the network by its tensors; the file has no configuration.

    Raises
    ------
    CheckpointError
        If a tensor that has a size is absent, or has none.
    """
    from pertharness_foundation.contents import CheckpointError

    from pertharness_scbert.network import EXTRA, Sizes

    first = "performer.net.layers.0.0.fn."
    try:
        n_tokens, dim = state["token_emb.weight"].shape
        length = len(state["pos_emb.emb.weight"])
        n_features, dim_head = state[f"{first}fast_attention.projection_matrix"].shape
        inner = len(state[f"{first}to_q.weight"])
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{source} is not the published layout ({error}): expected the keys of scBERT's PerformerLM, below "
            f"{INSIDE!r}"
        ) from None
    layers = {int(number.group(1)) for key in state if (number := _LAYER.match(key))}
    if (depth := len(layers)) <= max(layers):
        raise CheckpointError(
            f"{source} has {depth} layers, and one is number {max(layers)}; expected 0 to {depth - 1}"
        )
    if inner % dim_head or not 3 <= n_tokens <= 256 or not dim or not n_features or length <= EXTRA:
        raise CheckpointError(
            f"{source} has {n_tokens} tokens, {length} positions, and queries of {inner} numbers with heads of "
            f"{dim_head}: no network has these sizes"
        )
    return Sizes(length - EXTRA, n_tokens, dim, depth, inner // dim_head, dim_head, n_features)


def key_rules(*, classifier: bool) -> KeyRules:
    """Return what becomes of the published keys: with a classifier, the layer that reads tokens back is left out."""
    from pertharness_foundation.checkpoint import KeyRules

    loads = ("token_emb.weight", "pos_emb.emb.weight", "performer.*", "norm.*")
    if classifier:
        return KeyRules(loads=loads, ignores=_OF_PRETRAINING, fresh=_OF_PRETRAINING)
    return KeyRules(loads=(*loads, *_OF_PRETRAINING))


def make_network(published: Published, n_classes: int | None) -> tuple[ScBert, str]:
    """Return the network of a checkpoint, on the CPU, and a line for the record.

    Parameters
    ----------
    n_classes
        Of a classifier that takes the place of the layer that reads tokens back, with fresh weights from torch's
        generator; None: that layer.

    Raises
    ------
    CheckpointError
        If a key is absent, unknown or misshapen, or has a value that is no finite number; or if there is no last layer
        but one to be fine-tuned.
    """
    from pertharness_foundation.checkpoint import CheckpointError, load_state

    from pertharness_scbert.network import ScBert

    if n_classes is not None and published.sizes.depth < 2:
        raise CheckpointError(f"{published.source} has 1 layer; fine-tuning trains the last but one of at least 2")
    network = ScBert(published.sizes, n_classes)
    rules = key_rules(classifier=n_classes is not None)
    counts = load_state(network, published.state, rules, source=published.source)
    return network, counts.note()


def known_genes(labels: Sequence[str], genes: Sequence[str]) -> dict[str, int]:
    """Return the labels that are genes of the list, with their positions.

    Raises
    ------
    Skip
        If none is.
    """
    position = {gene: number for number, gene in enumerate(genes)}
    known = {label: position[label] for label in labels if label in position}
    if not known:
        raise Skip(
            f"none of the {len(labels)} genes (first: {list(labels[:1])}) is among the {len(genes)} of scBERT's list "
            f"(such as {genes[0]!r}): name genes by symbol"
        )
    return known
