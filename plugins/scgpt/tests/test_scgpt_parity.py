"""Every array of the parity fixture: network, training steps, pairs, flags and predictions of the published code."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the plugin's environment")

from pertharness_scgpt.batches import Batch, draw_genes, make_flags  # noqa: E402
from pertharness_scgpt.data import choose_genes, pair_cells  # noqa: E402
from pertharness_scgpt.embedding import token_vectors  # noqa: E402
from pertharness_scgpt.network import Network, read_sizes  # noqa: E402
from pertharness_scgpt.predicting import draw_controls, flag_targets, predict_mean, sequence_predictor  # noqa: E402
from pertharness_scgpt.training import CLIP_NORM, squared_error  # noqa: E402
from pertharness_scgpt.vocabulary import read_vocabulary  # noqa: E402
from pertharness_scgpt.weights import Files, read_published, rules_of  # noqa: E402

SHARED = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared"))
FIXTURE = SHARED / "fixtures" / "scgpt"
pytestmark = [
    pytest.mark.reference, pytest.mark.skipif(not FIXTURE.is_dir(), reason=f"no reference data in {SHARED}"),
]  # fmt: skip
# The tolerances that the fixture states.
SINGLE, DOUBLE = 1e-5, 1e-8
CPU = torch.device("cpu")
SHAPES = FIXTURE / "published_state_dict_keys.txt"


@dataclass(frozen=True)
class Fixture:
    config: dict
    arrays: dict
    sizes: object

    def tensor(self, name):
        return torch.from_numpy(self.arrays[name])

    def network(self, file="state_dict.pt", dropout=0.0, dtype=torch.float32):
        network = Network(self.sizes, dropout)
        state = torch.load(FIXTURE / file, weights_only=True)
        network.load_state_dict({rules_of("fresh").rename(key): value for key, value in state.items()})
        return network.to(dtype)


@pytest.fixture(scope="module")
def published():
    return Fixture(
        json.loads((FIXTURE / "config.json").read_text()), dict(np.load(FIXTURE / "io.npz")),
        read_published(_files()).sizes,
    )  # fmt: skip


def _files():
    return Files(FIXTURE / "best_model.pt", FIXTURE / "vocab.json", FIXTURE / "args.json")


def near(found, expected, tolerance=SINGLE):
    found = found.detach().numpy() if hasattr(found, "detach") else np.asarray(found)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


@pytest.fixture(scope="module")
def inputs(published):
    return published.tensor("gene_ids"), published.tensor("values"), published.tensor("pert_flags")


def test_the_sizes_are_those_of_the_fixture(published):
    config, sizes = published.config, published.sizes
    assert (sizes.width, sizes.heads, sizes.hidden, sizes.layers, sizes.class_layers, sizes.tokens, sizes.padding) == (
        config["embsize"], config["nheads"], config["d_hid"], config["nlayers"], config["n_layers_cls"],
        config["vocab_size"], config["pad_id"],
    )  # fmt: skip


def test_tokens_of_genes(published):
    vocabulary = read_vocabulary(FIXTURE / "vocab.json")
    genes = choose_genes(published.config["genes"], None, vocabulary, "padding")
    np.testing.assert_array_equal(genes.tokens, published.arrays["gene_ids"])
    assert not genes.missing
    excluded = choose_genes(published.config["genes"], None, vocabulary, "excluded")
    unknown = published.arrays["gene_ids"] == vocabulary.padding
    lost = {gene for gene, is_unknown in zip(published.config["genes"], unknown, strict=True) if is_unknown}
    assert set(excluded.missing) == lost != set()
    np.testing.assert_array_equal(excluded.tokens, published.arrays["gene_ids"][~unknown])


@pytest.mark.parametrize("file", ["state_dict.pt", "state_dict_flash.pt"])
def test_the_forward_pass_and_all_between(published, inputs, file):
    network = published.network(file).eval()
    arrays = published.arrays
    tokens, values, flags = inputs
    layers = {}
    network.transformer_encoder.layers[0].register_forward_hook(lambda *call: layers.update(first=call[-1]))
    with torch.no_grad():
        near(network(tokens, values, flags), arrays["mlm_output"])
        near(layers["first"][1], arrays["cell1_layer0_output"])
        near(network.encoder(tokens), arrays["cell1_gene_token_embedding"])
        near(network.value_encoder(values)[1], arrays["cell1_value_embedding"])
        rows = network.embed(tokens, values, flags)
        near(rows[1], arrays["cell1_bn_output"])
        rows = network.transformer_encoder(rows)
        near(rows[1], arrays["cell1_transformer_output"])
        near(network.cls_decoder(rows[:, 0]), arrays["cls_output"])
        # A row of tokens for each cell is the same as one for all.
        near(network(tokens.expand(len(values), -1), values, flags), arrays["mlm_output"])


@pytest.mark.parametrize("mask", ["tail", "holes"])
def test_padded_genes_are_not_attended_to(published, inputs, mask):
    padded = published.tensor(f"padmask_{mask}")
    with torch.no_grad():
        predicted = published.network().eval()(*inputs, padded)
    near(predicted[~padded], published.arrays[f"mlm_output_padmask_{mask}"][~padded.numpy()])


def test_a_subset_of_genes(published, inputs):
    tokens, values, flags = inputs
    chosen = published.tensor("subset_ids")
    with torch.no_grad():
        predicted = published.network().eval()(tokens[chosen], values[:, chosen], flags[:, chosen])
    near(predicted, published.arrays["mlm_output_subset"])


def test_the_prediction_routine(published, inputs):
    tokens, values, flags = inputs
    network, arrays = published.network().eval(), published.arrays
    every = np.arange(len(tokens))
    for row in range(len(values)):
        predict = sequence_predictor(network, tokens, flags[row].numpy(), CPU, "float32")
        near(predict(values[row : row + 1].numpy(), every)[0], arrays["pred_perturb_all"][row])
    zeroed = arrays["values_zeroed"]
    shown = np.flatnonzero((zeroed != 0).any(axis=0))
    assert len(shown) < len(tokens)
    for row in range(len(values)):
        predict = sequence_predictor(network, tokens, flags[row].numpy(), CPU, "float32")
        predicted = predict_mean(predict, zeroed[row : row + 1], [shown], 4)
        near(np.nan_to_num(predicted.numpy()), arrays["pred_perturb_batchwise"][row])


def test_the_gene_embedding_from_the_checkpoint_file(published):
    vectors = token_vectors(read_published(_files()), torch.arange(published.sizes.tokens))
    near(vectors, published.arrays["gene_embedding"])


def test_what_is_loaded_from_the_checkpoint_file(published):
    config, checkpoint = published.config, read_published(_files())
    network = Network(published.sizes)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    counts = checkpoint.load_into(network, "fresh")
    assert (counts.loaded, counts.ignored, counts.fresh) == tuple(
        len(config[name]) for name in ("loaded_keys", "ignored_checkpoint_keys", "fresh_keys")
    )
    expected, state = torch.load(FIXTURE / "state_dict.pt", weights_only=True), network.state_dict()
    for key in config["loaded_keys"]:
        torch.testing.assert_close(state[key], expected[key], rtol=0, atol=0)
    for key in config["fresh_keys"]:
        torch.testing.assert_close(state[key], before[key], rtol=0, atol=0)
    assert set(state) == {*config["loaded_keys"], *config["fresh_keys"]}
    with_decoder = checkpoint.load_into(network, "checkpoint")
    assert with_decoder.loaded - counts.loaded == sum(key.startswith("decoder.") for key in config["fresh_keys"])
    torch.testing.assert_close(network.state_dict()["decoder.fc.4.bias"], checkpoint.state["decoder.fc.4.bias"])


def test_a_training_pass_in_float32(published, inputs):
    arrays, network = published.arrays, published.network().train()
    batch = _batch(published, inputs, "train_ids_float32", torch.float32)
    near(network(batch.tokens, batch.values, batch.flags), arrays["train_output_float32"])
    near(network.bn.running_mean, arrays["bn_running_mean_float32"])
    near(network.bn.running_var, arrays["bn_running_var_float32"])
    network = published.network().train()
    loss = squared_error(network, batch)
    loss.backward()
    near(loss, arrays["loss_float32"])
    near(torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM), arrays["grad_norm_float32"])


def test_two_optimiser_steps_in_float64(published, inputs):
    arrays, network = published.arrays, published.network(dtype=torch.float64).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=published.config["train"]["lr"])
    for step in (1, 2):
        batch = _batch(published, inputs, f"train_ids_step{step}", torch.float64)
        if step == 1:
            output = published.network(dtype=torch.float64).train()(batch.tokens, batch.values, batch.flags)
            near(output, arrays["train_output_step1"], DOUBLE)
        optimiser.zero_grad()
        loss = squared_error(network, batch)
        loss.backward()
        near(loss, arrays[f"loss_step{step}"], DOUBLE)
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        near(norm, arrays[f"grad_norm_step{step}"], DOUBLE)
        parameters = dict(network.named_parameters())
        for key in _keys(arrays, f"grad{step}/"):
            near(parameters[key].grad, arrays[f"grad{step}/{key}"], DOUBLE)
        optimiser.step()
        state = network.state_dict()
        for key in _keys(arrays, f"after{step}/"):
            near(state[key], arrays[f"after{step}/{key}"], DOUBLE)
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == published.config["train"]["no_gradient_keys"]
    tokens, values, flags = inputs
    with torch.no_grad():
        near(network.eval()(tokens, values.double(), flags), arrays["pred_after_training"], DOUBLE)


def _keys(arrays, prefix):
    return [name.removeprefix(prefix) for name in arrays if name.startswith(prefix)]


def _batch(published, inputs, genes, dtype):
    tokens, _, flags = inputs
    chosen = published.tensor(genes)
    values, expected = (published.tensor(name)[:, chosen].to(dtype) for name in ("train_values", "train_targets"))
    return Batch(tokens[chosen], values, flags[:, chosen], expected)


def test_the_random_permutation(published):
    generator = torch.Generator().manual_seed(published.config["randperm_seed"])
    n_genes = len(published.config["genes"])
    most = published.config["max_seq_len"]
    np.testing.assert_array_equal(draw_genes(n_genes, most, generator), published.arrays["randperm_cpu"][:most])


def _labels(published):
    config = published.config
    return np.array(config["condition_order"], dtype=object)[published.arrays["data_condition_index"]]


def test_pairs(published):
    config, arrays, labels = published.config, published.arrays, _labels(published)
    controls = np.flatnonzero(labels == "ctrl")
    inputs, outputs = pair_cells(labels, np.random.RandomState(config["pairing_seed"]), len(controls), "ctrl")
    np.testing.assert_array_equal(controls[inputs], arrays["pair_input_cell"])
    np.testing.assert_array_equal(outputs, arrays["pair_target_cell"])
    np.testing.assert_array_equal(arrays["data_condition_index"][outputs], arrays["pair_condition"])


def _positions(published, condition):
    genes = published.config["genes"]
    return [genes.index(name) for name in condition.split("+") if name != "ctrl"]


def test_training_flags(published):
    config, arrays = published.config, published.arrays
    n_genes = len(config["genes"])
    for row, condition in enumerate(np.array(config["condition_order"])[arrays["pair_condition"]]):
        if condition not in config["good_conditions"]:
            assert (arrays["pair_flags"][row] == -1).all()
            continue
        targets = np.full((1, 2), -1)
        positions = _positions(published, condition)
        targets[0, : len(positions)] = positions
        found = make_flags(targets, n_genes, np.arange(n_genes))
        np.testing.assert_array_equal(found[0], arrays["pair_flags"][row])


def test_predictions_of_conditions(published):
    config, arrays, labels = published.config, published.arrays, _labels(published)
    controls = arrays["data_expression"][labels == "ctrl"]
    conditions, n_genes = config["predict_conditions"], len(config["genes"])
    rng = np.random.RandomState(config["predict_seed"])
    draws = draw_controls(len(conditions), len(controls), config["predict_pool_size"], rng)
    np.testing.assert_array_equal(draws, arrays["predict_control_draws"])
    network, tokens = published.network().eval(), published.tensor("gene_ids")
    for row, condition in enumerate(conditions):
        flags = flag_targets(_positions(published, condition), n_genes, "sign")
        np.testing.assert_array_equal(flags, arrays["predict_flags"][row])
        predict = sequence_predictor(network, tokens, flags, CPU, "float32")
        mean = predict_mean(predict, controls[draws[row]], [np.arange(n_genes)], config["predict_batch"])
        near(mean, arrays["predict_mean"][row].astype(np.float64))


def test_every_array_of_the_fixture_is_looked_at(published):
    text = Path(__file__).read_text(encoding="utf-8")
    looked_at = {name for name in published.arrays if name.split("/")[0] in text}
    patterns = ("padmask_", "mlm_output_padmask_", "train_ids_step", "loss_step", "grad_norm_step", "grad", "after")
    left = [name for name in set(published.arrays) - looked_at if not name.startswith(patterns)]
    assert not left


def _blocks():
    """Return key -> shape of the published checkpoint and of the fine-tuned model, in their order."""
    blocks = []
    for line in SHAPES.read_text(encoding="utf-8").splitlines():
        if line.startswith(("# A.", "# B.")):
            blocks.append({})
        elif line and not line.startswith("#"):
            key, shape, _ = line.split("\t")
            blocks[-1][key] = tuple(json.loads(shape))
    return blocks


def test_keys_and_shapes_of_the_published_size():
    checkpoint, fine_tuned = _blocks()
    args = {"embsize": 512, "nheads": 8, "d_hid": 512, "nlayers": 12, "n_layers_cls": 3}
    n_tokens, width = checkpoint["encoder.embedding.weight"]
    assert width == args["embsize"]
    with torch.device("meta"):
        network = Network(read_sizes(args, tokens=n_tokens, padding=n_tokens - 3))
        state = {key: torch.empty(shape) for key, shape in checkpoint.items()}
    found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert list(found.items()) == list(fine_tuned.items())
    from pertharness_foundation.checkpoint import load_state

    counts = load_state(network, state, rules_of("fresh"), source="best_model.pt", assign=True)
    assert (counts.loaded, counts.ignored, counts.fresh) == (153, 10, 22)
    counts = load_state(network, state, rules_of("checkpoint"), source="best_model.pt", assign=True)
    assert (counts.loaded, counts.ignored, counts.fresh) == (159, 4, 16)
