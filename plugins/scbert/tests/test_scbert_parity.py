"""Every array of a fixture made with the published code, from counts to encodings, embeddings and classes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

torch = pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")

from pertharness_foundation.checkpoint import load_state, read_state_dict  # noqa: E402
from pertharness_foundation.tiny import keys_of, read_key_list  # noqa: E402
from pertharness_scbert.cells import log2_rates, tokenise  # noqa: E402
from pertharness_scbert.embedding import embed_cells  # noqa: E402
from pertharness_scbert.network import PUBLISHED, ScBert, Sizes  # noqa: E402
from pertharness_scbert.settings import Settings  # noqa: E402
from pertharness_scbert.weights import Published, key_rules, make_network, read_sizes  # noqa: E402

SHARED = Path(os.environ.get("PERTHARNESS_SHARED") or Path(__file__).parents[4] / "shared")
FIXTURE = SHARED / "fixtures" / "scbert"
pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not FIXTURE.is_dir(), reason=f"no reference data in {SHARED}"),
]
TOLERANCE = 1e-5
"""That which the fixture states for float32; whole numbers have to be equal."""


@pytest.fixture(scope="module")
def expected():
    with np.load(FIXTURE / "io.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def facts():
    return json.loads((FIXTURE / "config.json").read_text())


@pytest.fixture(scope="module")
def network():
    path = FIXTURE / "state_dict.pt"
    state = read_state_dict(path)
    sizes = read_sizes(state, path.name)
    network, note = make_network(Published(state, sizes, (), path.name, ""), None)
    assert note == f"weights: {len(state)} tensors loaded, 0 ignored, 0 fresh"
    return network.eval()


@pytest.fixture(scope="module")
def ids(expected):
    return torch.from_numpy(expected["tokens"])


def close(values, expected):
    np.testing.assert_allclose(np.asarray(values), expected, atol=TOLERANCE, rtol=0)


def test_sizes_are_those_of_the_configuration(network, facts):
    sizes = network.sizes
    assert (sizes.n_genes, sizes.dim, sizes.depth) == (facts["n_genes"], facts["dim"], facts["depth"])
    assert (sizes.heads, sizes.dim_head) == (facts["heads"], facts["dim_head"])
    assert (sizes.n_tokens, sizes.n_features) == (facts["num_tokens"], facts["nb_features"])


def test_tokens(expected, facts):
    counts = sparse.csr_matrix(expected["counts"].astype(np.float64))
    logs = log2_rates(counts, np.asarray(counts.sum(axis=1)).ravel(), facts["target_sum"])
    close(logs.toarray(), expected["lognorm"])
    np.testing.assert_array_equal(tokenise(logs, facts["num_tokens"]), expected["tokens"])


def test_encodings_in_one_batch(expected, network, ids):
    with torch.no_grad():
        close(network.encode(ids), expected["encodings_pos"])
        close(network(ids), expected["mlm_logits_pos"])


def test_encodings_one_cell_at_a_time(expected, network, ids):
    for positions, name in ((True, "encodings_pos_batch_of_one"), (False, "encodings_nopos_batch_of_one")):
        with torch.no_grad():
            close(torch.cat([network.encode(cell[None], positions=positions) for cell in ids]), expected[name])
    assert np.abs(expected["encodings_pos"] - expected["encodings_pos_batch_of_one"]).max() > 100 * TOLERANCE


def test_cell_embeddings_of_a_batch_are_those_of_single_cells(expected, network):
    tokens = expected["tokens"].astype(np.uint8)
    choices = Settings().choices()
    close(np.concatenate(embed_cells(network, tokens, choices)), expected["cell_embedding_nopos"])
    with_table = Settings.model_validate({"procedure": {"position_table": "on"}}).choices()
    pooled = np.concatenate(embed_cells(network, tokens, with_table))
    close(pooled, expected["encodings_pos_batch_of_one"].mean(axis=1))
    assert network.performer.key_maximum == "batch"


def test_classes(expected, facts):
    path = FIXTURE / "head_state_dict.pt"
    state = read_state_dict(path)
    head = facts["head"]
    dim = state["token_emb.weight"].shape[1]
    n_features = len(state["performer.net.layers.0.0.fn.fast_attention.projection_matrix"])
    sizes = Sizes(head["n_genes"], facts["num_tokens"], dim, head["depth"], head["heads"], head["dim_head"], n_features)
    network = ScBert(sizes, head["n_classes"]).eval()
    load_state(network, state, key_rules(classifier=False), source=path.name)
    with torch.no_grad():
        close(network(torch.from_numpy(expected["head_tokens"])), expected["head_logits"])


def test_the_fixture_has_no_array_that_is_not_tested(expected):
    text = Path(__file__).read_text()
    assert [name for name in expected if f'"{name}"' not in text] == []


@pytest.mark.parametrize(
    ("name", "n_classes", "n_tensors"),
    [("published_state_dict_keys.txt", None, 91), ("finetuned_state_dict_keys_100classes.txt", 100, 97)],
)
def test_the_network_of_published_size_has_the_published_keys(name, n_classes, n_tensors):
    with torch.device("meta"):
        network = ScBert(PUBLISHED, n_classes)
    published = read_key_list(FIXTURE / name)
    assert keys_of(network) == published
    assert len(published) == n_tensors


def test_sizes_are_read_from_a_state_of_published_size():
    with torch.device("meta"):
        assert read_sizes(ScBert(PUBLISHED).state_dict(), "meta") == PUBLISHED
