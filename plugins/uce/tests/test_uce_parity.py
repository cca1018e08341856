"""Every array of a fixture made with the published code, from counts to sentences and embeddings."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

torch = pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")

from pertharness_foundation.checkpoint import load_state, read_state_dict  # noqa: E402
from pertharness_foundation.tiny import keys_of, read_key_list  # noqa: E402
from pertharness_uce.embedder import Embedder, TokenVectors  # noqa: E402
from pertharness_uce.network import Network, Sizes, padding_bias, read_sizes  # noqa: E402
from pertharness_uce.sentences import Places, draw_sentences  # noqa: E402
from pertharness_uce.tiny import other_shapes  # noqa: E402
from pertharness_uce.weights import TABLE, key_rules, published_sizes  # noqa: E402

SHARED = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared"))
FIXTURE = SHARED / "fixtures" / "uce"
pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not FIXTURE.is_dir(), reason=f"no reference data in {SHARED}"),
]
TOLERANCE = 1e-6
"""That which the fixture states for float32; whole numbers have to be equal."""
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def expected():
    with np.load(FIXTURE / "io.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def facts():
    return json.loads((FIXTURE / "config.json").read_text())


@pytest.fixture(scope="module")
def state():
    return read_state_dict(FIXTURE / "state_dict.pt")


@pytest.fixture(scope="module")
def network(facts, state):
    with torch.device("meta"):
        network = Network(read_sizes(state, "state_dict.pt", heads=facts["nhead"]))
    load_state(network, state, key_rules(), source="state_dict.pt", assign=True)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def places(expected, facts):
    chromosomes = expected["gene_chrom_code"].astype(np.int64)
    return Places(expected["gene_token"], chromosomes, expected["gene_start"], facts["chrom_offset"])


@pytest.fixture(scope="module")
def sentences(expected, facts, places):
    rng = np.random.RandomState(facts["sampling_seed"])
    counts = sparse.csr_matrix(expected["counts"])
    return draw_sentences(counts, places, rng, sample_size=facts["sample_size"], positions=facts["pad_length"])


def embedder(network, state, *, masked=False):
    with torch.no_grad():
        vectors = network.encode_tokens(state[TABLE])
    return Embedder(network, TokenVectors(np.arange(len(vectors)), vectors), CPU, "float32", masked)


def test_the_sizes_are_those_of_the_fixture(facts, network, state):
    sizes = network.sizes
    assert (sizes.token_width, sizes.width, sizes.heads, sizes.hidden, sizes.layers, sizes.output) == (
        facts["token_dim"], facts["d_model"], facts["nhead"], facts["d_hid"], facts["nlayers"], facts["output_dim"],
    )  # fmt: skip
    assert len(state[TABLE]) == facts["n_tokens"]


def test_sentences_are_equal(expected, sentences):
    np.testing.assert_array_equal(sentences.tokens, expected["sentences"])
    np.testing.assert_array_equal(sentences.lengths, expected["seq_len"])
    np.testing.assert_array_equal(sentences.mask(), expected["mask"])


def test_the_decoder_at_every_position(expected, network, state):
    vectors = network.encode_tokens(state[TABLE])[torch.from_numpy(expected["sentences"])]
    bias = padding_bias(torch.from_numpy(expected["mask"]), masked=False)
    decoded = network.decode(vectors, bias).transpose(0, 1).numpy()
    np.testing.assert_allclose(decoded, expected["gene_output"], atol=TOLERANCE, rtol=0)


def test_embeddings_of_cells_together_and_alone(expected, network, state, sentences):
    together = embedder(network, state).embed(sentences)
    np.testing.assert_allclose(together, expected["cell_embedding"], atol=TOLERANCE, rtol=0)
    alone = expected["cell_embedding_batch_of_one"]
    # Without attention to padding, the cells that share a batch make no difference.
    masked = embedder(network, state, masked=True).embed(sentences)
    np.testing.assert_allclose(masked, alone, atol=TOLERANCE, rtol=0)
    assert np.abs(together - alone).max() > 100 * TOLERANCE


def test_each_cell_alone_is_drawn_from_the_same_stream(expected, facts, network, places, state):
    rng = np.random.RandomState(facts["sampling_seed"])
    ours = embedder(network, state)
    for counts, alone in zip(expected["counts"], expected["cell_embedding_batch_of_one"], strict=True):
        sentence = draw_sentences(
            sparse.csr_matrix(counts[None]), places, rng, sample_size=facts["sample_size"],
            positions=facts["pad_length"],
        )  # fmt: skip
        np.testing.assert_allclose(ours.embed(sentence)[0], alone, atol=TOLERANCE, rtol=0)


def test_the_fixture_has_no_array_that_is_not_tested(expected):
    text = Path(__file__).read_text()
    assert [name for name in expected if f'"{name}"' not in text] == []


def test_the_network_of_published_size_has_the_published_keys():
    published = read_key_list(FIXTURE / "published_state_dict_keys.txt")
    sizes = published_sizes("uce")
    with torch.device("meta"):
        network = Network(sizes)
    others = {key: (shape, "float32") for key, shape in other_shapes(sizes, published[TABLE][0][0]).items()}
    assert keys_of(network) | others == published
    assert len(published) == 86
    assert sum(int(np.prod(shape)) for shape, _ in published.values()) == 850_867_457
    state = {key: torch.empty(shape, device="meta") for key, (shape, _) in published.items()}
    assert read_sizes(state, "4layer_model.torch") == sizes
    assert load_state(network, state, key_rules(), source="4layer_model.torch", assign=True).loaded == 67


def test_the_large_network_has_the_same_keys_in_33_layers():
    small, large = published_sizes("uce"), published_sizes("uce_33l")
    assert large == Sizes(**{**vars(small), "layers": 33})
    with torch.device("meta"):
        assert len(keys_of(Network(large))) == len(keys_of(Network(small))) + 29 * 12
