"""Files that are not the published ones: each is refused, with what to do."""

import json
import pickle

import pytest
from pertharness import DataError
from pertharness.testing.planted import GENES
from pertharness_geneformer.settings import FileNames
from pertharness_geneformer.weights import DECLARED, find_files

torch = pytest.importorskip("torch", reason="needs the plugin's environment")
pytest.importorskip("transformers", reason="needs the plugin's environment")
from pertharness_foundation.tiny import write_safetensors  # noqa: E402
from pertharness_geneformer.dictionaries import SPECIALS  # noqa: E402
from pertharness_geneformer.network import make_classifier  # noqa: E402
from pertharness_geneformer.tiny import made_up_id, write_pickle, write_tiny  # noqa: E402
from pertharness_geneformer.weights import read_published  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

PAGE = b"<!DOCTYPE html><html><head><title>Access denied</title></head></html>"


@pytest.fixture
def files(tmp_path):
    return write_tiny(tmp_path, GENES)


def load(files):
    published = read_published(files)
    return published.load_into(make_classifier(published.sizes, 3))


def paths_of(files):
    return [getattr(files, name) for name in FileNames.model_fields]


def changed(path, change):
    """Write a dictionary or weights again with a change."""
    if path.suffix == ".pkl":
        content = pickle.loads(path.read_bytes())
        change(content)
        write_pickle(path, content)
    else:
        content = load_file(path)
        change(content)
        write_safetensors(path, content)


def test_the_tiny_files_are_as_the_published_ones(files):
    assert load(files).note() == "weights: 53 tensors loaded, 5 ignored, 4 fresh"
    assert [path.name for path in paths_of(files)] == [file.wanted for file in DECLARED]
    tokens = pickle.loads(files.tokens.read_bytes())
    assert [tokens[name] for name in SPECIALS] == [0, 1, 2, 3]
    assert len(tokens) == len(GENES) + 4


def test_a_truncated_file_is_refused(files):
    for path in paths_of(files):
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2])
        with pytest.raises(DataError, match=path.name):
            load(files)
        path.write_bytes(before)
    files.checkpoint.write_bytes(files.checkpoint.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"model.safetensors cannot be read as weights: .*fetch it again"):
        load(files)


def test_a_pickle_is_not_executed(files, tmp_path):
    class Run:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w').close()",)

    for path in paths_of(files):
        before = path.read_bytes()
        path.write_bytes(pickle.dumps({"<pad>": Run()}))
        with pytest.raises(DataError, match=path.name):
            load(files)
        path.write_bytes(before)
    files.tokens.write_bytes(pickle.dumps(Run()))
    with pytest.raises(DataError, match=r"it names builtins.exec, which would be run; nothing in it was run"):
        load(files)
    assert not (tmp_path / "ran").exists()


def test_a_web_page_in_the_place_of_a_file_is_named(files):
    for path in paths_of(files):
        before = path.read_bytes()
        path.write_bytes(PAGE)
        with pytest.raises(DataError, match=rf"{path.name} is a web page"):
            load(files)
        path.write_bytes(before)


def test_keys_that_are_unknown_missing_or_misshapen_are_named(files):
    before = files.checkpoint.read_bytes()
    gain, table = "bert.embeddings.LayerNorm.weight", "bert.embeddings.word_embeddings.weight"
    cases = [
        (lambda state: state.update({"bert.more": torch.zeros(3)}), "'bert.more' .*which the model does not have"),
        (lambda state: state.update({"head.weight": torch.zeros(3)}), r"'head.weight' \[3\]"),
        (lambda state: state.pop(gain), rf"lacks '{gain}' \[16\]"),
        (lambda state: state.update({gain: torch.zeros(8)}), rf"'{gain}' \[8\] in place of \[16\]"),
        (lambda state: state.update({table: torch.zeros(9, 16)}), rf"'{table}' \[9, 16\] in place of \[44, 16\]"),
        (lambda state: state.update({gain: torch.full((16,), torch.nan)}), rf"no finite number in '{gain}'"),
    ]
    for change, message in cases:
        files.checkpoint.write_bytes(before)
        changed(files.checkpoint, change)
        with pytest.raises(DataError, match=message):
            load(files)


def test_a_tied_decoder_that_is_stored_is_no_error(files):
    changed(files.checkpoint, lambda state: state.update({"cls.predictions.decoder.bias": torch.zeros(44)}))
    assert load(files).ignored == 6


def rows_of(number):
    return {made_up_id(row): 1.5 for row in range(number, number + 40)}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tokens", lambda d: d.update(ENSG1=44), r"token_dictionary_gc95M.pkl has 45 tokens and config.json a "
         r"vocab_size of 44: the dictionary is of another version"),
        ("tokens", lambda d: d.update({made_up_id(0): 77}), "whose numbers are not 0 to 43, each once"),
        ("tokens", lambda d: d.update({made_up_id(0): "4"}), r"has 'ENSG90000000000': '4'; expected Ensembl id"),
        ("tokens", lambda d: d.pop("<eos>"), r"none is '<eos>': it is the dictionary of another version"),
        ("medians", lambda d: (d.clear(), d.update(rows_of(30))), r"no median of 30 of the 40 genes .*another version"),
        ("medians", lambda d: d.update({made_up_id(1): 0.0}), r"has 'ENSG90000000001': 0.0; .*a number above 0"),
        ("medians", lambda d: d.update({made_up_id(1): "x"}), r"has 'ENSG90000000001': 'x'"),
        ("mapping", lambda d: (d.clear(), d.update({"KLF1": 3})), r"has 'KLF1': 3; expected symbol or Ensembl id"),
        ("mapping", lambda d: d.clear(), "holds an empty dictionary"),
    ],
)  # fmt: skip
def test_a_dictionary_of_another_version_is_refused(files, name, change, message):
    changed(getattr(files, name), change)
    with pytest.raises(DataError, match=message):
        load(files)


def test_a_dictionary_of_another_kind_is_refused(files):
    files.mapping.write_bytes(pickle.dumps(["KLF1"]))
    with pytest.raises(DataError, match=r"ensembl_mapping_dict_gc95M.pkl holds a list; expected the published"):
        load(files)


def test_names_that_are_no_text_are_no_error_in_the_mapping(files):
    changed(files.mapping, lambda content: content.update({float("nan"): made_up_id(0), "NONE": None}))
    assert "NONE" not in read_published(files).dictionaries.mapping


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "config.json has hidden_size None; expected a positive whole number"),
        ({"num_hidden_layers": 0}, "config.json has num_hidden_layers 0"),
        ({"layer_norm_eps": "x"}, "config.json has layer_norm_eps 'x'; expected a number from 0 to 1"),
        ({"model_type": "gpt2"}, "config.json has model_type 'gpt2'; expected 'bert'"),
        ({"hidden_act": "gelu"}, "config.json has hidden_act 'gelu'; expected 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'; expected 'absolute'"),
        ({"num_attention_heads": 3}, "of which no network can be made"),
        ({"num_hidden_layers": 4}, r"lacks 'bert.encoder.layer.3"),
        ({"hidden_size": 32}, r"in place of .* it is a checkpoint of another size"),
    ],
)
def test_a_configuration_of_another_network_is_refused(files, change, message):
    files.config.write_text(json.dumps({**json.loads(files.config.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        load(files)
    files.config.write_text("[1]")
    with pytest.raises(DataError, match=r"config.json holds a list"):
        load(files)


def test_a_checkpoint_of_another_size_is_not_taken_for_the_published_one(files):
    there = {path.name: path for path in paths_of(files)}
    with pytest.raises(DataError, match=r"is not that of gf-12L-95M-i4096: .*hidden_size=16.*expected .*=512"):
        read_published(find_files(there, FileNames()))
    own = FileNames(checkpoint=str(files.checkpoint))
    assert read_published(find_files(there, own)).sizes.hidden_size == 16
