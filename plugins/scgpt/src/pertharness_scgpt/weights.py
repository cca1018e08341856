"""The published files, and which of the checkpoint's tensors the network starts with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import RemoteFile

from pertharness_scgpt.settings import DecoderInit, FileNames

if TYPE_CHECKING:
    from pertharness_foundation.checkpoint import KeyCounts, KeyRules
    from torch import Tensor

    from pertharness_scgpt.network import Network, Sizes
    from pertharness_scgpt.vocabulary import Vocabulary

FOLDER = "https://drive.google.com/drive/folders/1oWh_-ZRdhtoGQ2Fw24HP41FgLoomVo-y"
"""Where the authors publish the whole-human checkpoint: a page for browsers, as Drive shows one before a large file."""
_FILE = "https://drive.google.com/uc?export=download&id="
# The sums are not known: those of the first files are recorded when they are first used, and checked from then on.
CHECKPOINT = RemoteFile(
    url=FOLDER, filename="best_model.pt", size_mb=205.3,
    by_hand="in the folder whole-human, download best_model.pt (205 MB), and do not rename it",
)  # fmt: skip
VOCABULARY = RemoteFile(url=f"{_FILE}1H3E_MJ-Dl36AQV6jLbna2EdvgPaqvqcC", filename="vocab.json", size_mb=1.32)
ARGUMENTS = RemoteFile(url=f"{_FILE}1hh2zGKyWAx3DyovD30GStZ3QlzmSqdk1", filename="args.json", size_mb=0.0013)
DECLARED = (CHECKPOINT, VOCABULARY, ARGUMENTS)
"""The published files, in the order of the parameters that name others."""
PATHS: dict[str, Any] = FileNames().model_dump()
"""Parameters that name files of the user's; empty: the declared file."""
REPLACED = {param: (file.wanted,) for param, file in zip(PATHS, DECLARED, strict=True)}
"""Parameter -> the published file that it replaces."""
_PUBLISHED = {
    "width": 512, "heads": 8, "hidden": 512, "layers": 12, "class_layers": 3, "tokens": 60_697, "padding": 60_694,
}  # fmt: skip
"""Sizes of the published checkpoint: without a sum, what is known of it."""
_LOADED = ("encoder.*", "value_encoder.*", "transformer_encoder.*")
_DECODER = ("decoder.*",)
_OF_PRETRAINING = ("flag_encoder.*", "mvc_decoder.*")
_FRESH = ("pert_encoder.*", "bn.*", "cls_decoder.*")


@dataclass(frozen=True)
class Files:
    """Where checkpoint, vocabulary and arguments are; ``own`` where a parameter names at least one of them."""

    checkpoint: Path
    vocabulary: Path
    arguments: Path
    own: bool = True


def find_files(files: Mapping[str, Path], named: FileNames) -> Files:
    """Return the files that the parameters name, and for the others those of the card.

    Raises
    ------
    DataError
        If a parameter names no file.
    """
    from pertharness_foundation.contents import named_file

    paths = {
        param: named_file("scgpt", param, text) if text else files[declared.wanted]
        for (param, text), declared in zip(named.model_dump().items(), DECLARED, strict=True)
    }
    return Files(**paths, own=any(named.model_dump().values()))


def rules_of(decoder: DecoderInit) -> KeyRules:
    """Return which published keys are loaded, ignored and started fresh.

    The published code starts the decoder fresh, although the checkpoint has one; `decoder` says which is done.
    """
    from pertharness_foundation.checkpoint import KeyRules

    rules = KeyRules(
        loads=(*_LOADED, *_DECODER), ignores=_OF_PRETRAINING, fresh=_FRESH,
        # Checkpoints of the flash-attention layer have another name for the same matrices.
        rename=lambda key: key.replace("Wqkv.", "in_proj_"),
    )  # fmt: skip
    if decoder == "checkpoint":
        return rules
    return replace(rules, loads=_LOADED, ignores=(*_OF_PRETRAINING, *_DECODER), fresh=(*_FRESH, *_DECODER))


@dataclass(frozen=True)
class Published:
    """A checkpoint that was read: its vocabulary, its sizes and its tensors by published key."""

    vocabulary: Vocabulary
    sizes: Sizes
    state: Mapping[str, Tensor]
    name: str

    def load_into(self, network: Network, decoder: DecoderInit) -> KeyCounts:
        """Load the tensors into a network, each key accounted for.

        Raises
        ------
        CheckpointError
            If the file has a key that is neither loaded nor ignored, or lacks one or has one of another shape.
        """
        from pertharness_foundation.checkpoint import load_state

        return load_state(network, self.state, rules_of(decoder), source=self.name)


def read_published(files: Files) -> Published:
    """Read the files, and check that they belong together.

    Raises
    ------
    CheckpointError
        If one is not what it should be, the vocabulary has another number of tokens than the checkpoint, or files in
        the place of the published ones are of another size.
    """
    from pertharness_foundation.checkpoint import read_state_dict
    from pertharness_foundation.contents import CheckpointError

    from pertharness_scgpt.network import Sizes, read_sizes
    from pertharness_scgpt.vocabulary import read_json, read_vocabulary

    vocabulary = read_vocabulary(files.vocabulary)
    sizes = read_sizes(read_json(files.arguments), tokens=len(vocabulary), padding=vocabulary.padding)
    state = read_state_dict(files.checkpoint)
    table = state.get("encoder.embedding.weight")
    if table is not None and table.ndim and len(table) != len(vocabulary):
        raise CheckpointError(
            f"scgpt: {files.vocabulary.name} has {len(vocabulary)} tokens and {files.checkpoint.name} {len(table)}: "
            "the vocabulary is of another version; take both from one folder"
        )
    if not files.own and sizes != Sizes(**_PUBLISHED):
        raise CheckpointError(
            f"scgpt: {files.checkpoint.name}, {files.vocabulary.name} and {files.arguments.name} are not the published "
            f"whole-human checkpoint: they have {sizes}, expected {Sizes(**_PUBLISHED)}. Name a checkpoint of your own "
            "in the parameters checkpoint, vocabulary and arguments"
        )
    return Published(vocabulary, sizes, state, files.checkpoint.name)
