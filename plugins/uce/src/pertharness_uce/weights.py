"""The published files, and the network and the token table made of them: each key accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import RemoteFile

from pertharness_uce.settings import FileNames

if TYPE_CHECKING:
    from pertharness_foundation.checkpoint import KeyRules
    from torch import Tensor

    from pertharness_uce.network import Network, Sizes
    from pertharness_uce.vocabulary import Vocabulary

_FILES = "https://figshare.com/ndownloader/files/"
LICENCE = "CC-BY-4.0 as reported; see the page of the files"
# No sha256 is published. The md5 sums are those that re-runs of the benchmark pinned.
CHECKPOINT = RemoteFile(
    url=f"{_FILES}42706576", filename="4layer_model.torch", size_mb=3403.5, licence=LICENCE,
    md5="3e2f59d6da6eaa5396aa297edfcec08f",
)  # fmt: skip
LARGE_CHECKPOINT = RemoteFile(
    url=f"{_FILES}43423236", filename="33l_8ep_1024t_1280.torch", size_mb=5700, licence=LICENCE,
    md5="eed62d4fe51873c87bcf9660faa07707",
)  # fmt: skip
SYMBOLS = RemoteFile(
    url=f"{_FILES}42715213", filename="protein_embeddings.tar.gz", size_mb=2700, licence=LICENCE,
    member="Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt", md5="6756d7fa8348e0f70b5e5b11e324f023",
)  # fmt: skip
CHROMOSOMES = RemoteFile(
    url=f"{_FILES}42706558", filename="species_chrom.csv", licence=LICENCE, md5="42a9b5871b1ed955fd05414b3ab89081"
)
OFFSETS = RemoteFile(
    url=f"{_FILES}42706555", filename="species_offsets.pkl", licence=LICENCE, md5="ddf9143508857e62607f323b338ff383"
)
PATHS: dict[str, Any] = FileNames().model_dump()
"""Parameters that name files of the user's; empty: the declared file."""
MODELS = {"uce": CHECKPOINT, "uce_33l": LARGE_CHECKPOINT}
"""Offer -> its checkpoint."""
LAYERS = {"uce": 4, "uce_33l": 33}
TABLE = "pe_embedding.weight"
"""Key of the token table: proteins of the genes of all species, then chromosomes."""
N_CHROMOSOMES = 1895
"""Of the published table, in all species."""
_PUBLISHED = {
    "token_width": 5120, "width": 1280, "heads": 20, "hidden": 5120, "inner": 1024, "output": 1280, "positions": 1536,
}  # fmt: skip
"""Sizes of both published checkpoints: without a sum, what is known of them."""


def declared(name: str) -> tuple[RemoteFile, ...]:
    """Return the published files of an offer, in the order of the parameters that name others."""
    return MODELS[name], SYMBOLS, CHROMOSOMES, OFFSETS


def replaced(name: str) -> dict[str, tuple[str, ...]]:
    """Return which published file each parameter replaces."""
    return {param: (file.wanted,) for param, file in zip(PATHS, declared(name), strict=True)}


@dataclass(frozen=True)
class Files:
    """Where the files are; ``own`` where a parameter names at least one of them."""

    checkpoint: Path
    symbols: Path
    chromosomes: Path
    offsets: Path
    own: bool = True


def find_files(name: str, files: Mapping[str, Path], named: FileNames) -> Files:
    """Return the files that the parameters name, and for the others those of the card.

    Raises
    ------
    DataError
        If a parameter names no file.
    """
    from pertharness_foundation.contents import named_file

    paths = {
        param: named_file(name, param, text) if text else files[file.wanted]
        for (param, text), file in zip(named.model_dump().items(), declared(name), strict=True)
    }
    return Files(**paths, own=any(named.model_dump().values()))


def published_sizes(name: str) -> Sizes:
    """Return the sizes of the published checkpoint of an offer."""
    from pertharness_uce.network import Sizes

    return Sizes(**_PUBLISHED, layers=LAYERS[name])


def key_rules() -> KeyRules:
    """Return which published keys the network loads; the table is read apart, by rows."""
    from pertharness_foundation.checkpoint import KeyRules

    return KeyRules(
        loads=("encoder.*", "pos_encoder.pe", "transformer_encoder.*", "decoder.*"),
        ignores=("binary_decoder.*", "gene_embedding_layer.*", TABLE),
    )


@dataclass(frozen=True)
class Published:
    """A checkpoint that was read.

    Attributes
    ----------
    network
        In evaluation mode, on the CPU, memory-mapped, without gradients.
    table
        The token table, memory-mapped, shape (n_tokens, token_width).
    note
        A line for the record.
    """

    network: Network
    table: Tensor
    vocabulary: Vocabulary
    note: str

    @property
    def first_chromosome(self) -> int:
        """Token of the first chromosome."""
        return len(self.table) - self.vocabulary.n_chromosomes

    def rows(self, tokens: Tensor) -> Tensor:
        """Return the rows of some tokens, float32; only these are read from the file.

        Raises
        ------
        CheckpointError
            If one has a value that is no finite number.
        """
        from pertharness_foundation.contents import CheckpointError

        rows: Tensor = self.table[tokens]
        if not rows.isfinite().all():
            token = int(tokens[~rows.isfinite().all(dim=1)][0])
            raise CheckpointError(f"uce: row {token} of {TABLE!r} has values that are no finite number; fetch it again")
        return rows


def read_published(name: str, files: Files) -> Published:
    """Read the files of an offer, and check that they belong together.

    Raises
    ------
    CheckpointError
        If one is not what it should be, they are of different versions, or files in the place of the published ones
        are of another size.
    """
    import torch
    from pertharness_foundation.checkpoint import load_state, read_state_dict

    from pertharness_uce.network import Network, read_sizes
    from pertharness_uce.vocabulary import read_vocabulary

    vocabulary = read_vocabulary(files.symbols, files.chromosomes, files.offsets)
    state = read_state_dict(files.checkpoint)
    source = files.checkpoint.name
    sizes = read_sizes(state, source)
    _check_together(name, files, sizes, state.get(TABLE), vocabulary)
    with torch.device("meta"):
        network: Network = Network(sizes)
    counts = load_state(network, state, key_rules(), source=source, assign=True)
    note = (
        f"weights: {counts.loaded} tensors loaded, {counts.ignored - 1} ignored, and the rows that are needed of the "
        f"{len(state[TABLE])} of the token table"
    )
    return Published(network.eval().requires_grad_(False), state[TABLE], vocabulary, note)


def _check_together(name: str, files: Files, sizes: Sizes, table: Tensor | None, vocabulary: Vocabulary) -> None:
    """Raise CheckpointError if the files are of different versions, or not the published ones in their place."""
    import torch
    from pertharness_foundation.contents import CheckpointError

    source = files.checkpoint.name
    if table is None or table.ndim != 2 or table.shape[1] != sizes.token_width or table.dtype != torch.float32:
        held = "lacks it" if table is None else f"has it as {list(table.shape)}, {table.dtype}"
        raise CheckpointError(
            f"uce: {source}: expected {TABLE!r} [tokens, {sizes.token_width}] of float32, and the file {held}; it is "
            "another checkpoint"
        )
    if vocabulary.width not in (None, sizes.token_width):
        raise CheckpointError(
            f"uce: {files.symbols.name} has vectors of {vocabulary.width} numbers, and {source} tokens of "
            f"{sizes.token_width}: they are of different versions"
        )
    last, first_chromosome = max(vocabulary.tokens.values()), len(table) - vocabulary.n_chromosomes
    if last >= first_chromosome:
        raise CheckpointError(
            f"uce: {source} has {len(table)} tokens, of which {files.chromosomes.name} needs "
            f"{vocabulary.n_chromosomes} for chromosomes, and {files.offsets.name} with {files.symbols.name} all up to "
            f"{last}: they are of different versions; take all files from one place"
        )
    if not files.own and (sizes != published_sizes(name) or vocabulary.n_chromosomes != N_CHROMOSOMES):
        raise CheckpointError(
            f"{name}: {source} and {files.chromosomes.name} are not the published files: they have {sizes} and "
            f"{vocabulary.n_chromosomes} chromosomes, expected {published_sizes(name)} and {N_CHROMOSOMES}. Name files "
            f"of your own in the parameters {', '.join(PATHS)}"
        )
