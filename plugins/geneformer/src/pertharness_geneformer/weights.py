"""The published files, and what of the checkpoint the network starts with: each key accounted for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import RemoteFile

from pertharness_geneformer.settings import EmbeddingFiles, FileNames

if TYPE_CHECKING:
    from pertharness_foundation.checkpoint import KeyCounts, KeyRules
    from torch import Tensor, nn

    from pertharness_geneformer.dictionaries import Dictionaries

# The versions of the files that were used are pinned by their sums: the branch may move, the content may not.
_REPOSITORY = "https://huggingface.co/ctheodoris/Geneformer/resolve/main"


def _published(folder: str, filename: str, n_bytes: int, sha256: str) -> RemoteFile:
    return RemoteFile(
        url=f"{_REPOSITORY}/{folder}/{filename}", filename=filename, size_mb=n_bytes / 1e6, sha256=sha256,
        licence="Apache-2.0",
    )  # fmt: skip


CHECKPOINT = _published(
    "gf-12L-95M-i4096", "model.safetensors", 152_012_980,
    "4365ba23e393fcfa0e65a94ac64a0983cd788bd23a8d4914f4ab66f85cfe043c",
)  # fmt: skip
CONFIG = _published(
    "gf-12L-95M-i4096", "config.json", 591, "f56780389d8c89c1b6c4084e2e6ee1f736558e4b3bb8ce7473159e83465de401"
)
TOKENS = _published(
    "geneformer", "token_dictionary_gc95M.pkl", 425_590,
    "67c445f4385127adfc48dcc072320cd65d6822829bf27dd38070e6e787bc597f",
)  # fmt: skip
MEDIANS = _published(
    "geneformer", "gene_median_dictionary_gc95M.pkl", 1_512_661,
    "a51c53f6a771d64508dfaf61529df70e394c53bd20856926117ae5d641a24bf5",
)  # fmt: skip
MAPPING = _published(
    "geneformer", "ensembl_mapping_dict_gc95M.pkl", 3_957_652,
    "0819bcbd869cfa14279449b037eb9ed1d09a91310e77bd1a19d927465030e95c",
)  # fmt: skip
_OF_PARAM = {"checkpoint": CHECKPOINT, "config": CONFIG, "tokens": TOKENS, "medians": MEDIANS, "mapping": MAPPING}
DECLARED = tuple(_OF_PARAM[param] for param in FileNames.model_fields)
REPLACED = {param: (_OF_PARAM[param].wanted,) for param in FileNames.model_fields}
"""Parameter -> the published file that it replaces."""
OF_EMBEDDING = tuple(_OF_PARAM[param] for param in EmbeddingFiles.model_fields)
REPLACED_OF_EMBEDDING = {param: (_OF_PARAM[param].wanted,) for param in EmbeddingFiles.model_fields}


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network, by the names of its configuration.

    ``max_position_embeddings`` is the number of tokens of a cell at most, two special ones among them.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    layer_norm_eps: float


PUBLISHED = Sizes(
    vocab_size=20_275, hidden_size=512, num_hidden_layers=12, num_attention_heads=8, intermediate_size=1024,
    max_position_embeddings=4096, type_vocab_size=2, hidden_dropout_prob=0.02, attention_probs_dropout_prob=0.02,
    layer_norm_eps=1e-12,
)  # fmt: skip
"""Sizes of gf-12L-95M-i4096."""
_REQUIRED = {"model_type": "bert", "hidden_act": "relu", "pad_token_id": 0}
_ABSOLUTE = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
"""Other settings that the network is made for; where a configuration does not have them, these are meant."""


@dataclass(frozen=True)
class Files:
    """Where the files are; ``medians`` is None where they are not needed."""

    checkpoint: Path
    config: Path
    tokens: Path
    mapping: Path
    medians: Path | None = None
    is_own: bool = True


def find_files(files: Mapping[str, Path], named: FileNames | EmbeddingFiles) -> Files:
    """Return the files that the parameters name, and for the others those of the card.

    Raises
    ------
    DataError
        If a parameter names no file.
    """
    from pertharness_foundation.contents import named_file

    texts: dict[str, str] = named.model_dump()
    paths = {
        param: named_file("geneformer", param, text) if text else files[_OF_PARAM[param].wanted]
        for param, text in texts.items()
    }
    return Files(**paths, is_own=any(texts.values()))


def key_rules() -> KeyRules:
    """Return what becomes of the published keys: the encoder is loaded, the head that guesses masked genes is not."""
    from pertharness_foundation.checkpoint import KeyRules

    return KeyRules(loads=("bert.*",), ignores=("cls.predictions.*",), fresh=("bert.pooler.*", "classifier.*"))


@dataclass(frozen=True)
class Published:
    """A checkpoint that was read: its dictionaries, its sizes, and its tensors by published key."""

    dictionaries: Dictionaries
    sizes: Sizes
    state: Mapping[str, Tensor]
    name: str

    def load_into(self, network: nn.Module, *, assign: bool = False) -> KeyCounts:
        """Load the tensors of the encoder into a network, each key accounted for.

        Raises
        ------
        CheckpointError
            If the file has a key that is neither loaded nor ignored, or lacks one or has one of another shape.
        """
        from pertharness_foundation.checkpoint import load_state

        return load_state(network, self.state, key_rules(), source=self.name, assign=assign)


def read_published(files: Files) -> Published:
    """Read the files, and check that they belong together.

    Raises
    ------
    CheckpointError
        If one is not what it should be, they are of different versions, or files in the place of the published ones
        are of another size.
    """
    from pertharness_foundation.checkpoint import read_state_dict
    from pertharness_foundation.contents import CheckpointError

    from pertharness_geneformer.dictionaries import Dictionaries, check_medians, read_mapping, read_medians, read_tokens

    sizes = read_sizes(files.config)
    tokens = read_tokens(files.tokens)
    if len(tokens) != sizes.vocab_size:
        raise CheckpointError(
            f"geneformer: {files.tokens.name} has {len(tokens)} tokens and {files.config.name} a vocab_size of "
            f"{sizes.vocab_size}: the dictionary is of another version; take both from one version"
        )
    medians = {} if files.medians is None else read_medians(files.medians)
    if files.medians is not None:
        check_medians(tokens, medians, files.medians.name)
    if not files.is_own and sizes != PUBLISHED:
        raise CheckpointError(
            f"geneformer: {files.config.name} is not that of gf-12L-95M-i4096: it has {sizes}, expected {PUBLISHED}. "
            f"Name a checkpoint of your own in the parameters {', '.join(FileNames.model_fields)}"
        )
    dictionaries = Dictionaries(tokens, read_mapping(files.mapping), medians)
    return Published(dictionaries, sizes, read_state_dict(files.checkpoint), files.checkpoint.name)


def read_sizes(path: Path) -> Sizes:
    """Return the sizes in a ``config.json``, which has to be of a network of this kind.

    Raises
    ------
    CheckpointError
        If it is no such configuration; the message names the setting.
    """
    from pertharness_foundation.contents import CheckpointError, read_text

    try:
        content = json.loads(read_text(path))
    except ValueError:
        raise CheckpointError(f"geneformer: {path.name} is no JSON, or only its beginning; fetch it again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"geneformer: {path.name} holds a {type(content).__name__}; expected an object")
    for name, wanted in {**_REQUIRED, **_ABSOLUTE}.items():
        value = content.get(name, _ABSOLUTE.get(name))
        if value != wanted:
            raise CheckpointError(f"geneformer: {path.name} has {name} {value!r}; expected {wanted!r}")
    values: dict[str, Any] = {}
    for name, like in asdict(PUBLISHED).items():
        values[name] = value = content.get(name)
        if isinstance(like, int):
            is_right = isinstance(value, int) and not isinstance(value, bool) and value > 0
        else:
            is_right = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
        if not is_right:
            kind = "a positive whole number" if isinstance(like, int) else "a number from 0 to 1"
            raise CheckpointError(f"geneformer: {path.name} has {name} {value!r}; expected {kind}")
    sizes = Sizes(**values)
    if sizes.hidden_size % sizes.num_attention_heads or sizes.max_position_embeddings < 3:
        raise CheckpointError(f"geneformer: {path.name} has {sizes}, of which no network can be made")
    return sizes
