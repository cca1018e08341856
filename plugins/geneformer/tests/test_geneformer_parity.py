"""Every array and list of the parity fixture: tokens, perturbed cells, orders, and what the network computes."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

torch = pytest.importorskip("torch", reason="needs the plugin's environment")
pytest.importorskip("transformers", reason="needs the plugin's environment")

from pertharness_foundation.tiny import keys_of, read_key_list, write_safetensors  # noqa: E402
from pertharness_geneformer.dictionaries import Dictionaries  # noqa: E402
from pertharness_geneformer.genes import UNKNOWN, match_genes  # noqa: E402
from pertharness_geneformer.network import (  # noqa: E402
    Embedder,
    cell_vectors,
    make_classifier,
    make_pretrained,
    pad,
)
from pertharness_geneformer.perturbing import TooShort, delete, overexpress  # noqa: E402
from pertharness_geneformer.selection import TEST, draw_pool, longest_first, split  # noqa: E402
from pertharness_geneformer.tiny import tiny_config, write_pickle  # noqa: E402
from pertharness_geneformer.tokens import Vocabulary, add_up, rank, tokenise  # noqa: E402
from pertharness_geneformer.weights import PUBLISHED, Files, Sizes, key_rules, read_published, read_sizes  # noqa: E402

SHARED = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared"))
FIXTURE = SHARED / "fixtures" / "geneformer"
pytestmark = [
    pytest.mark.reference, pytest.mark.skipif(not FIXTURE.is_dir(), reason=f"no reference data in {SHARED}"),
]  # fmt: skip
TOLERANCE = 1e-5
"""That of the fixture for float32; whole numbers have to be equal."""
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def arrays():
    with np.load(FIXTURE / "io.npz") as content:
        return dict(content)


@pytest.fixture(scope="module")
def lists():
    return json.loads((FIXTURE / "tokens.json").read_text())


@pytest.fixture(scope="module")
def config():
    return json.loads((FIXTURE / "config.json").read_text())


@pytest.fixture(scope="module")
def dictionaries(lists):
    return Dictionaries(lists["token_dictionary"], lists["ensembl_mapping"], lists["gene_median"])


@pytest.fixture(scope="module")
def vocabulary(lists, dictionaries):
    return Vocabulary.of(dictionaries.tokens, lists["max_len"])


@pytest.fixture(scope="module")
def genes(lists, dictionaries):
    names = [f"gene {number}" for number in range(len(lists["var_ensembl_id"]))]
    return match_genes(names, lists["var_ensembl_id"], dictionaries, "first_key")


@pytest.fixture(scope="module")
def cells(lists):
    return [np.array(cell) for cell in lists["input_ids"]]


@pytest.fixture(scope="module")
def sizes(config):
    return Sizes(**{name: config["bert_config"][name] for name in Sizes.__dataclass_fields__})


@pytest.fixture(scope="module")
def classifier(sizes, config):
    network = make_classifier(sizes, config["n_labels"])
    network.load_state_dict(torch.load(FIXTURE / "classifier_state_dict.pt", weights_only=True))
    return network.eval()


def near(found, expected):
    np.testing.assert_allclose(np.asarray(found.detach()), expected, atol=TOLERANCE, rtol=0)


def test_the_longest_cell_is_that_of_the_configuration(lists, sizes, config):
    assert lists["max_len"] == sizes.max_position_embeddings == config["max_len"]


def test_genes_and_what_is_lost(lists, dictionaries, genes):
    ids = lists["var_ensembl_id"]
    known = [dictionaries.mapping.get(name) in dictionaries.tokens for name in ids]
    np.testing.assert_array_equal(genes.of_column != UNKNOWN, known)
    mapped = [dictionaries.mapping[name] for name, is_known in zip(ids, known, strict=True) if is_known]
    assert genes.ids == tuple(dict.fromkeys(mapped))
    assert len(mapped) > len(genes.ids), "no two columns of one gene"
    assert not all(known)


def test_tokens_of_counts(arrays, lists, genes, vocabulary):
    counts = add_up(sparse.csr_matrix(arrays["counts"], dtype=np.float64), genes)
    found = rank(counts, arrays["n_counts"].astype(np.float64), genes, vocabulary)
    assert [cell.tolist() for cell in found] == lists["input_ids"]


def test_tokens_of_log_values(arrays, lists, genes, vocabulary):
    counts = arrays["counts"].astype(np.float64)
    has_one = np.where(counts > 0, counts, np.inf).min(axis=1) == 1
    assert has_one.any()
    logs = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
    found = tokenise(sparse.csr_matrix(logs), genes, vocabulary)
    for row in np.flatnonzero(has_one):
        # Counts come back with the error of float32, so that equal values may change places.
        assert sorted(found[row]) == sorted(lists["input_ids"][row]) or len(found[row]) == vocabulary.longest
        same = np.mean(found[row] == np.array(lists["input_ids"][row]))
        assert same > 0.8


def test_the_totals_are_over_all_genes(arrays):
    np.testing.assert_array_equal(np.rint(arrays["counts"].sum(axis=1)), arrays["n_counts"])


def test_perturbed_cells(lists, cells, vocabulary):
    for key, expected in lists["perturbed"].items():
        mode, _, name = key.partition("__")
        targets = lists["perturb_targets"][name]
        for cell, wanted in zip(cells, expected, strict=True):
            if mode == "overexpress":
                assert overexpress(cell, targets, vocabulary.longest).tolist() == wanted
            elif wanted is None:
                with pytest.raises(TooShort):
                    delete(cell, targets, "paper")
            else:
                assert delete(cell, targets, "paper").tolist() == wanted
    assert {key.partition("__")[0] for key in lists["perturbed"]} == {"delete", "overexpress"}


def test_the_pool_of_controls(lists):
    lengths = np.array(lists["order_lengths"])
    drawn = draw_pool(len(lengths), 150, 42)
    assert drawn[longest_first(lengths[drawn])].tolist() == lists["downsample_and_sort_150_seed42"]


def test_the_parts_of_a_split(lists):
    rest, part = split(len(lists["order_lengths"]), TEST, 42)
    assert rest.tolist() == lists["train_test_split_0p1_seed42"]["train"]
    assert part.tolist() == lists["train_test_split_0p1_seed42"]["test"]


def _batch(arrays, lists, config):
    cells = [np.array(cell) for cell in lists["perturbed"]["overexpress__pair"][: config["n_fwd"]]]
    return cells, pad(cells, 0, CPU), torch.tensor([len(cell) for cell in cells])


def test_padding(arrays, lists, config):
    _, batch, _ = _batch(arrays, lists, config)
    np.testing.assert_array_equal(batch.ids, arrays["fwd_input_ids"])
    np.testing.assert_array_equal(batch.mask, arrays["fwd_attention_mask"])


def test_the_hidden_states(arrays, lists, config, classifier):
    _, batch, _ = _batch(arrays, lists, config)
    with torch.no_grad():
        states = classifier.bert(batch.ids, attention_mask=batch.mask, output_hidden_states=True).hidden_states
    kept = batch.mask[..., None]
    near(states[-1] * kept, arrays["hidden_last"])
    near(states[-2] * kept, arrays["hidden_second_to_last"])


def test_the_vectors_of_cells(arrays, lists, config, classifier):
    cells, batch, lengths = _batch(arrays, lists, config)
    of_package = arrays["mean_embedding_second_to_last"]
    with torch.no_grad():
        near(cell_vectors(classifier.bert, batch, lengths, "last", "cls"), arrays["cls_embedding_last"])
        near(cell_vectors(classifier.bert, batch, lengths, "second_to_last", "mean"), of_package)
    for size in (1, 3, 100):  # whatever is computed together
        embedder = Embedder(classifier, 0, CPU, "float32", "last", "cls", size)
        near(embedder.embed(cells), arrays["cls_embedding_last"])
        embedder = Embedder(classifier, 0, CPU, "float32", "second_to_last", "mean", size)
        near(embedder.embed(cells), of_package)


def test_the_classes(arrays, lists, config, classifier):
    _, batch, _ = _batch(arrays, lists, config)
    with torch.no_grad():
        near(classifier(input_ids=batch.ids, attention_mask=batch.mask).logits, arrays["class_logits"])


def test_the_guesses_of_masked_genes(arrays, lists, config, sizes):
    network = make_pretrained(sizes)
    network.load_state_dict(torch.load(FIXTURE / "state_dict.pt", weights_only=True))
    _, batch, _ = _batch(arrays, lists, config)
    with torch.no_grad():
        logits = network.eval()(input_ids=batch.ids, attention_mask=batch.mask).logits
    near(logits * batch.mask[..., None], arrays["mlm_logits"])


def test_the_published_files_lead_to_the_same_encoder(tmp_path, arrays, lists, config, sizes, classifier):
    state = torch.load(FIXTURE / "state_dict.pt", weights_only=True)
    stored = {key: value for key, value in state.items() if not key.startswith("cls.predictions.decoder.")}
    write_safetensors(tmp_path / "model.safetensors", stored)
    (tmp_path / "config.json").write_text(json.dumps({**tiny_config(sizes), **config["bert_config"]}))
    names = {"token_dictionary": "tokens.pkl", "ensembl_mapping": "mapping.pkl", "gene_median": "medians.pkl"}
    for key, name in names.items():
        write_pickle(tmp_path / name, lists[key])
    files = Files(*(tmp_path / name for name in ("model.safetensors", "config.json", *names.values())))
    published = read_published(files)
    assert published.dictionaries == Dictionaries(
        lists["token_dictionary"], lists["ensembl_mapping"], lists["gene_median"]
    )
    network = make_classifier(published.sizes, config["n_labels"])
    counts = published.load_into(network)
    of_encoder = [key for key in stored if key.startswith("bert.")]
    assert (counts.loaded, counts.ignored, counts.fresh) == (len(of_encoder), len(stored) - len(of_encoder), 4)
    cells, _, _ = _batch(arrays, lists, config)
    embedder = Embedder(network.eval(), 0, CPU, "float32", "last", "cls", 100)
    near(embedder.embed(cells), arrays["cls_embedding_last"])


def test_everything_in_the_fixture_is_looked_at(arrays, lists):
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in (*arrays, *lists) if f'"{name}"' not in text] == []


def test_keys_and_shapes_of_the_published_size():
    from pertharness_foundation.checkpoint import load_state

    published = read_key_list(FIXTURE / "published_state_dict_keys_gf-12L-95M-i4096.txt")
    with torch.device("meta"):
        network, classifier = make_pretrained(PUBLISHED), make_classifier(PUBLISHED, 100)
        state = {key: torch.empty(shape) for key, (shape, _) in published.items()}
    assert keys_of(network) == published
    assert len(published) == 204
    counts = load_state(classifier, state, key_rules(), source="model.safetensors", assign=True)
    assert (counts.loaded, counts.ignored, counts.fresh) == (197, 7, 4)


def test_keys_of_the_earlier_model_are_of_the_same_layout(tmp_path):
    earlier = read_key_list(FIXTURE / "published_state_dict_keys_gf-6L-30M-i2048.txt")
    changed = {
        "vocab_size": 25_426, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4,
        "intermediate_size": 512, "max_position_embeddings": 2048,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({**tiny_config(PUBLISHED), **changed}))
    with torch.device("meta"):
        network = make_pretrained(read_sizes(tmp_path / "config.json"))
    assert keys_of(network) == earlier


def test_samples_are_those_of_pythons_random():
    from pertharness_geneformer.selection import sample_by_class

    labels = ["b", "a", "b", "b", "a", "c", "b"]
    state = random.getstate()
    try:
        random.seed(42)
        expected = [*random.sample([0, 2, 3, 6], 2), 1, 4, 5]
    finally:
        random.setstate(state)
    assert sample_by_class(labels, 2, 42).tolist() == expected
