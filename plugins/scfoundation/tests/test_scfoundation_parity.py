"""Every array of a fixture made with the published code, from the checkpoint file to the prediction and the loss."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

torch = pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")

from pertharness_foundation.tiny import keys_of, read_key_list  # noqa: E402
from pertharness_scfoundation.cells import Cells, extend, tokenise  # noqa: E402
from pertharness_scfoundation.embedder import make_embedder  # noqa: E402
from pertharness_scfoundation.graphs import Graph  # noqa: E402
from pertharness_scfoundation.head import GraphHead, perturbed_in  # noqa: E402
from pertharness_scfoundation.loss import perturbation_loss  # noqa: E402
from pertharness_scfoundation.network import ScFoundation, cell_embedding  # noqa: E402
from pertharness_scfoundation.tiny import PUBLISHED  # noqa: E402
from pertharness_scfoundation.weights import PREFIX, read_pretrained  # noqa: E402

SHARED = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared"))
FIXTURE = SHARED / "fixtures" / "scfoundation"
pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not FIXTURE.is_dir(), reason=f"no reference data in {SHARED}"),
]
TOLERANCE = 1e-5
"""That which the fixture states for float32; whole numbers and masks have to be equal."""


@pytest.fixture(scope="module")
def expected():
    with np.load(FIXTURE / "io.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def facts():
    return json.loads((FIXTURE / "config.json").read_text())


@pytest.fixture(scope="module")
def network(facts):
    genes = tuple(f"G{number}" for number in range(facts["n_genes"]))
    return read_pretrained(FIXTURE / "models_tiny.ckpt", genes).network


@pytest.fixture(scope="module")
def cells(expected):
    expression = sparse.csr_matrix(expected["x"][:, :-1])
    return Cells(expression, expected["total_count"], np.array(["control"] * expression.shape[0], dtype=object))


@pytest.fixture(scope="module")
def tokens(cells, network):
    return tokenise(extend(cells.expression, cells.totals), network.sizes.pad_token)


@pytest.fixture(scope="module")
def decoded(network, tokens):
    with torch.no_grad():
        return network.decode(network.decoder_input(tokens, network.encode(tokens), network.background()))


@pytest.fixture
def head(expected, facts):
    graphs = [
        Graph(*expected[f"gears_G_{name}"], expected[f"gears_G_{name}_weight"].astype(np.float64), n_nodes)
        for name, n_nodes in (("coexpress", facts["n_genes"]), ("go", facts["n_perts"]))
    ]
    head = GraphHead(
        facts["n_genes"], facts["n_perts"], facts["dec_dim"], coexpression=graphs[0], ontology=graphs[1],
        smooth_all=False,
    )  # fmt: skip
    head.load_state_dict(torch.load(FIXTURE / "gears_head_state_dict.pt", weights_only=True))
    return head.eval()


def close(values, expected):
    np.testing.assert_allclose(values.detach().numpy(), expected, atol=TOLERANCE, rtol=0)


def test_the_input_is_log1p_cp10k_with_the_total(expected):
    logs = np.log1p(expected["counts"] * (1e4 / expected["total_count"])[:, None])
    np.testing.assert_allclose(expected["x"][:, :-1], logs, atol=TOLERANCE)
    np.testing.assert_array_equal(expected["x"][:, -1], expected["total_count"])


def test_tokens(expected, cells, tokens):
    np.testing.assert_allclose(extend(cells.expression, cells.totals).toarray(), expected["binned"], atol=TOLERANCE)
    np.testing.assert_allclose(tokens.values.numpy(), expected["encoder_data"], atol=TOLERANCE)
    np.testing.assert_array_equal(tokens.positions.numpy(), expected["encoder_position_gene_ids"])
    np.testing.assert_array_equal(tokens.padding.numpy(), expected["encoder_padding"])


def test_encoder(expected, network, tokens):
    close(network.embed_tokens(tokens), expected["encoder_input_embedding"])
    close(network.encode(tokens), expected["encoder_output"])


def test_decoder(expected, facts, network, decoded):
    close(decoded, expected["gene_embedding_all"])
    close(decoded[:, : facts["n_genes"]], expected["gene_embedding"])
    close(network.reconstruct(decoded), expected["reconstruction"])


def test_embedder_by_batch_and_by_cell(expected, network, cells):
    embedder = make_embedder(network, torch.device("cpu"), "float32")
    close(embedder.embed(cells), expected["gene_embedding"])
    alone = torch.cat([embedder.embed(cells.take(np.array([row]))) for row in range(len(expected["x"]))])
    close(alone, expected["gene_embedding_batch_of_one"])
    close(
        embedder.with_maxima(["cell"] * network.sizes.decoder_depth).embed(cells),
        expected["gene_embedding_batch_of_one"],
    )
    assert np.abs(expected["gene_embedding"] - expected["gene_embedding_batch_of_one"]).max() > 100 * TOLERANCE


def test_cell_embedding_of_a_given_total(expected, network):
    values = expected["binned"].copy()
    values[:, -2] = 4.0
    rows = []
    for cell in values:
        tokens = tokenise(sparse.csr_matrix(cell[None]), network.sizes.pad_token)
        rows.append(cell_embedding(tokens, network.encode(tokens)))
    close(torch.cat(rows), expected["cell_embedding_t4"])


def test_prediction_and_loss(expected, facts, head):
    targets = [[gene for gene in genes if gene >= 0] for genes in expected["gears_pert_idx"].tolist()]
    assert targets == [[gene for gene in genes if gene >= 0] for genes in facts["pert_idx"]]
    expression = torch.from_numpy(expected["x"][:, :-1])
    with torch.no_grad():
        prediction = head(torch.from_numpy(expected["gene_embedding"]), expression, perturbed_in(targets))
    close(prediction, expected["gears_prediction"])
    everything = torch.arange(facts["n_genes"])
    genes = {
        name: torch.from_numpy(expected[f"gears_nonzero_idx__{name}"]) if name != "ctrl" else everything
        for name in facts["pert_names"]
    }
    arrays = [torch.from_numpy(expected[name]) for name in ("gears_y", "gears_ctrl")]
    loss = perturbation_loss(prediction, *arrays, facts["pert_names"], genes, direction_lambda=0.1)
    assert float(loss) == pytest.approx(float(expected["gears_loss"]), abs=TOLERANCE)


def test_the_fixture_has_no_array_that_is_not_tested(expected):
    text = Path(__file__).read_text()
    for name in expected:
        parts = {"coexpress": 'f"gears_G_{name}', "go": 'f"gears_G_{name}', "nonzero": 'f"gears_nonzero_idx__{name}"'}
        assert f'"{name}"' in text or any(key in name and part in text for key, part in parts.items()), name


def test_the_state_dict_is_that_of_the_checkpoint_without_the_prefix(network):
    state = torch.load(FIXTURE / "state_dict.pt", weights_only=True)
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        key: tuple(value.shape) for key, value in network.state_dict().items()
    }
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in state.items())


def test_the_network_of_published_size_has_the_published_keys():
    with torch.device("meta"):
        network = ScFoundation(PUBLISHED)
    published = read_key_list(FIXTURE / "published_state_dict_keys.txt")
    assert {PREFIX + key: value for key, value in keys_of(network).items()} == published
    assert len(published) == 265
    assert sum(int(np.prod(shape)) for shape, _ in published.values()) == 119_354_430


def test_the_graph_model_has_the_published_keys():
    none = Graph(*np.zeros((2, 0), dtype=np.int64), np.zeros(0), 0)
    published = read_key_list(FIXTURE / "gears_head_keys_tiny.txt")
    (n_genes, width), (n_perturbations, _) = (published[f"{name}_emb.weight"][0] for name in ("gene", "pert"))
    graphs = {"coexpression": replace(none, n_nodes=n_genes), "ontology": replace(none, n_nodes=n_perturbations)}
    head = GraphHead(n_genes, n_perturbations, width, **graphs, smooth_all=False)
    assert keys_of(head) == published
