"""Fine-tuning and predicting on planted data, with a tiny checkpoint: quirks, what is left out, resume after a kill."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pertharness import DataError, Skip
from pertharness.testing import pose
from pertharness.testing.planted import GENES
from pertharness_scgpt import MODEL, embed, fit, load_model, predict, save_model
from pertharness_scgpt.weights import PATHS, Files, read_published
from scipy import sparse

torch = pytest.importorskip("torch", reason="needs the plugin's environment")
from pertharness_scgpt.batches import Batches, draw_genes, gather, make_flags  # noqa: E402
from pertharness_scgpt.data import Cells, Pairing, choose_genes, read_cells  # noqa: E402
from pertharness_scgpt.network import Network, Sizes  # noqa: E402
from pertharness_scgpt.predicting import cut_genes, flag_targets, predict_mean  # noqa: E402
from pertharness_scgpt.settings import PROCEDURES, Settings  # noqa: E402
from pertharness_scgpt.tiny import write_tiny  # noqa: E402
from pertharness_scgpt.training import Training  # noqa: E402
from pertharness_scgpt.vocabulary import read_vocabulary  # noqa: E402

# TUBB is not in the vocabulary, and neither is TP53, which is perturbed.
UNKNOWN = ("TP53", "TUBB")
FAST = {**MODEL.params, "epochs": 2, "lr": 1e-2, "batch_size": 32, "pool_size": 8}


@pytest.fixture(scope="module", autouse=True)
def single_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The parameters that name three files with random weights."""
    files = write_tiny(tmp_path_factory.mktemp("tiny"), [gene for gene in GENES if gene not in UNKNOWN])
    return {name: str(getattr(files, name)) for name in PATHS}


@pytest.fixture(scope="module")
def posed():
    return pose("double", "cells")


@pytest.fixture
def train(tiny, posed, tmp_path_factory):
    def fitted(posed=posed, workdir=None, **params):
        return fit(
            train=posed.train, val=posed.val, files={}, params={**FAST, **tiny, **params}, device="cpu", seed=1,
            workdir=workdir or tmp_path_factory.mktemp("job"),
        )  # fmt: skip

    return fitted


def ask(model, posed, queries, seed=1):
    return predict(model=model, controls=posed.controls, queries=queries, device="cpu", seed=seed)


def test_as_published_unknown_genes_are_predicted_and_counted(train, posed):
    answer = ask(train(), posed, ["MYC+TP53", "KLF1"])
    assert list(answer.obs["perturbation"]) == ["MYC+TP53", "KLF1"]
    assert np.isfinite(answer.X).all()
    notes = " ".join(answer.uns["notes"])
    assert "genes: 38 of 40 are in the model's vocabulary" in notes
    assert "2 share the token of padding and are predicted" in notes
    assert "weights: 33 tensors loaded, 10 ignored, 22 fresh" in notes
    assert "precision: float32" in notes
    assert "trained 2 epochs; the weights are those of epoch" in notes


def test_corrected_unknown_genes_are_neither_given_nor_predicted(train, posed):
    model = train(procedure="corrected")
    answer = ask(model, posed, ["MYC+TP53", "KLF1", "TP53"])
    assert list(answer.obs["perturbation"]) == ["KLF1"]
    assert dict(answer.uns["unanswered"]) == dict.fromkeys(
        ["MYC+TP53", "TP53"], "TP53 is not in the vocabulary of scGPT"
    )
    reason = "it is not in the vocabulary of scGPT"
    assert dict(answer.uns["missing_genes"]) == dict.fromkeys(UNKNOWN, reason)
    np.testing.assert_array_equal(np.isnan(answer.X[0]), [gene in UNKNOWN for gene in GENES])
    (note,) = [note for note in model.notes if "training perturbations are left out (first: " in note]
    assert note.endswith(": TP53 is not in the vocabulary of scGPT)")
    assert "weights: 39 tensors loaded, 4 ignored, 16 fresh" in model.notes
    assert model.network.sizes.padding not in model.genes.tokens


@pytest.mark.parametrize("procedure", ["paper", "corrected"])
def test_queries_that_cannot_be_flagged_are_not_answered_by_name(train, posed, procedure):
    answer = ask(train(procedure=procedure), posed, ["KLF1", "KLF1+ZNF9999", "CEBPE+KLF1+MYC"])
    assert list(answer.obs["perturbation"]) == ["KLF1"]
    assert dict(answer.uns["unanswered"]) == {
        "KLF1+ZNF9999": "ZNF9999 is not among the genes of the data, so that scGPT cannot be told that it is perturbed",
        "CEBPE+KLF1+MYC": "it has 3 targets, and scGPT takes at most 2",
    }


@pytest.mark.parametrize("procedure", ["paper", "corrected"])
def test_the_order_of_queries_changes_nothing(train, posed, procedure):
    model = train(procedure=procedure)
    first, second = (ask(model, posed, queries) for queries in (["KLF1", "MYC"], ["MYC", "KLF1"]))
    np.testing.assert_array_equal(first.X, second.X[::-1])


@pytest.mark.parametrize("procedure", ["paper", "corrected"])
def test_a_saved_model_predicts_the_same(train, posed, tmp_path, procedure):
    model = train(procedure=procedure, max_seq_len=30)
    save_model(model=model, folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    first, second = (ask(each, posed, ["KLF1"]) for each in (model, load_model(folder=tmp_path, device="cpu")))
    np.testing.assert_array_equal(first.X, second.X)
    assert first.uns["notes"] == second.uns["notes"]


KILLED = """
import json, os, signal, sys
from pathlib import Path
from pertharness.testing import pose
from pertharness_scgpt import MODEL, fit
from test_scgpt_training import FAST
class Log:
    def write(self, text):
        if text.startswith("epoch 2 of 4"): os.kill(os.getpid(), signal.SIGKILL)
    def flush(self): pass
sys.stderr = Log()
posed = pose("double", "cells")
params = {**FAST, **json.loads(sys.argv[1]), "epochs": 4, "procedure": sys.argv[3]}
fit(train=posed.train, val=posed.val, files={}, params=params, device="cpu", seed=1, workdir=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("procedure", ["paper", "corrected"])
def test_a_killed_training_goes_on_to_the_same_weights(train, tiny, tmp_path, procedure):
    (tmp_path / "killed").mkdir()
    words = [json.dumps(tiny), tmp_path / "killed", procedure]
    here = {"PYTHONPATH": ":".join([*sys.path, __file__.rpartition("/")[0]]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], env=here, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = train(workdir=tmp_path / "killed", epochs=4, procedure=procedure)
    whole = train(epochs=4, procedure=procedure)
    assert resumed.notes == whole.notes
    found, expected = (model.network.state_dict() for model in (resumed, whole))
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_without_validation_the_last_epoch_is_kept(train, posed):
    model = train(dataclasses.replace(posed, val=None))
    assert "no validation data can be used: the weights are those of the last epoch" in model.notes
    assert "trained 2 epochs" in model.notes


def changed(posed, change):
    """Return the task with other values of `train`."""
    train = posed.train.copy()
    train.X = sparse.csr_matrix(change(train.X.toarray()), dtype=np.float32)
    return dataclasses.replace(posed, train=train)


def test_raw_counts_are_refused(train, posed):
    with pytest.raises(DataError, match=r"log1p of counts per 10 000 .*raw counts\? .*--scale counts --normalise"):
        train(changed(posed, lambda x: np.expm1(x)))


def test_ensembl_ids_are_refused_with_an_example(train, posed):
    renamed = posed.train.copy()
    renamed.var_names = [f"ENSG{number:011d}" for number in range(renamed.n_vars)]
    with pytest.raises(DataError, match=r"none of the 40 genes \(first: 'ENSG00000000000'\).*--gene-column"):
        train(dataclasses.replace(posed, train=renamed))


def test_other_symbols_are_found_in_a_table(train, posed, tmp_path):
    path = tmp_path / "hgnc_complete_set.txt"
    path.write_text("symbol\talias_symbol\tprev_symbol\tensembl_gene_id\nKLF1\tEKLF\t\tENSG00000105610\n")
    renamed = posed.train.copy()
    renamed.var_names = ["EKLF" if gene == "KLF1" else gene for gene in renamed.var_names]
    labels = renamed.obs["perturbation"].astype(str).str.replace("KLF1", "EKLF")
    renamed = renamed[~labels.str.contains(r"\+").to_numpy()].copy()
    renamed.obs["perturbation"] = labels[renamed.obs_names].astype("category")
    task = dataclasses.replace(posed, train=renamed, val=None)
    model = train(task, gene_table=str(path), procedure="corrected")
    assert "genes: 38 of 40 are in the model's vocabulary (37 by name, 1 by another symbol)" in model.notes[0]
    assert "EKLF" in model.genes.positions()
    assert "EKLF" in train(task, procedure="corrected").genes.missing


def test_empty_cells_are_left_out_and_counted(train, posed):
    model = train(changed(posed, lambda x: np.where(np.arange(len(x))[:, None] < 3, 0, x)))
    assert f"3 of {posed.train.n_obs} training cells are empty and are left out" in model.notes


def test_cells_of_stored_zeros_are_empty_and_the_data_keep_them(train, posed):
    stored = posed.train.copy()
    stored.X = sparse.csr_matrix(stored.X, dtype=np.float32)
    stored.X.data[: stored.X.indptr[3]] = 0
    n_stored = stored.X.nnz
    model = train(dataclasses.replace(posed, train=stored))
    assert f"3 of {posed.train.n_obs} training cells are empty and are left out" in model.notes
    assert stored.X.nnz == n_stored


def test_too_little_to_train_on_is_a_skip(train, posed):
    labels = posed.train.obs["perturbation"].astype(str).to_numpy()
    for chosen, message in (
        (labels == "control", "the training data have controls alone"),
        (labels != "control", "there are none in the training data"),
    ):
        with pytest.raises(Skip, match=message):
            train(dataclasses.replace(posed, train=posed.train[chosen].copy()))
    with pytest.raises(Skip, match="training cells are less than one batch of 1000"):
        train(batch_size=1000)


def test_a_loss_that_is_no_number_is_an_error(train):
    with pytest.raises(DataError, match=r"loss is (nan|inf) in epoch"):
        train(lr=1e30)


def test_the_embedding_has_a_row_for_each_known_gene(tiny):
    frame = embed(labels=["control", "KLF1", "TP53", "MYC", "<cls>", "KLF1"], files={}, params=tiny)
    assert list(frame.index) == ["KLF1", "MYC"]
    state = torch.load(tiny["checkpoint"], weights_only=True)
    table = torch.nn.functional.layer_norm(
        state["encoder.embedding.weight"], (16,), state["encoder.enc_norm.weight"], state["encoder.enc_norm.bias"]
    )
    rows = read_vocabulary(Path(tiny["vocabulary"])).rows
    np.testing.assert_allclose(frame.to_numpy(), table[[rows["KLF1"], rows["MYC"]]].numpy(), atol=1e-6)


def test_an_embedding_of_no_known_gene_is_a_skip_with_an_example_of_both(tiny):
    with pytest.raises(Skip, match=r"none of the 1 genes \(first: 'ENSG00000105610'\) .*such as 'ACTB'.*by symbol"):
        embed(labels=["ENSG00000105610"], files={}, params=tiny)


# What a step sees.


def test_a_sample_of_genes_is_as_long_as_asked_and_has_the_wanted_ones():
    generator = torch.Generator().manual_seed(0)
    np.testing.assert_array_equal(draw_genes(5, 5, generator, [3]), np.arange(5))
    seen = set()
    for _ in range(20):
        genes = draw_genes(30, 10, generator, [7, 3])
        assert list(genes[:2]) == [7, 3]
        assert len(set(genes)) == len(genes) == 10
        seen |= set(genes)
    assert seen == set(range(30))
    assert list(draw_genes(30, 2, generator, [7, 3, 5])) == [7, 3]


def test_gathered_values_are_those_of_the_matrix():
    rng = np.random.default_rng(0)
    dense = rng.poisson(0.5, (7, 20)).astype(np.float32)
    rows, genes = np.array([3, 0, 3]), rng.permutation(20)[:8]
    np.testing.assert_array_equal(gather(sparse.csr_matrix(dense), rows, genes), dense[rows][:, genes])


def test_flags_are_where_the_targets_are_among_the_genes_of_the_step():
    flags = make_flags(np.array([[4, -1], [0, 2], [-1, -1], [1, 19]]), 20, np.array([2, 4, 0, 19]))
    np.testing.assert_array_equal(flags, [[0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]])


def test_the_first_gene_is_flagged_only_where_the_quirk_is_undone():
    assert list(flag_targets([0, 2], 4, "sign")) == [0, 0, 1, 0]
    assert list(flag_targets([0, 2], 4, "one")) == [1, 0, 1, 0]


@pytest.fixture(scope="module")
def paired(posed, tiny):
    """Makes pairs and batches of the planted cells."""
    genes = choose_genes(list(GENES), None, read_vocabulary(Path(tiny["vocabulary"])), "padding")
    cells = read_cells(posed.train, genes, [])

    def make(ctrl_pairs):
        controls = cells.expression[cells.controls()]
        return Pairing(controls, cells, genes, ctrl_pairs, {})

    return make, cells, genes


def test_what_becomes_of_controls(paired):
    make, cells, _ = paired
    controls = cells.controls()
    pairs = make("identity").draw(np.random.RandomState(0))
    of_control = np.isin(pairs.outputs, controls)
    np.testing.assert_array_equal(controls[pairs.inputs[of_control]], pairs.outputs[of_control])
    pairs = make("random").draw(np.random.RandomState(0))
    of_control = np.isin(pairs.outputs, controls)
    assert (controls[pairs.inputs[of_control]] != pairs.outputs[of_control]).any()
    pairs = make("left_out").draw(np.random.RandomState(0))
    assert not np.isin(pairs.outputs, controls).any()
    assert len(pairs) == len(cells.labels) - len(controls)


def test_a_label_that_cannot_be_used_has_no_pair(paired):
    _, cells, genes = paired
    labels = np.where(cells.labels == "KLF1", "ZNF9999", cells.labels)
    left_out = {}
    controls = cells.expression[cells.controls()]
    pairs = Pairing(controls, Cells(cells.expression, labels), genes, "identity", left_out).draw(
        np.random.RandomState(0)
    )
    assert list(left_out) == ["ZNF9999"]
    assert set(labels[pairs.outputs]) == set(labels) - {"ZNF9999"}


def test_the_perturbed_genes_are_in_the_step_where_the_quirk_is_undone(paired):
    make, _, genes = paired
    pairs = make("left_out").draw(np.random.RandomState(0))
    flagged = {}
    for subset in ("uniform", "with_targets"):
        batches = Batches(genes.tokens, 16, 10, subset, torch.device("cpu"))
        generator = torch.Generator().manual_seed(0)
        made = list(batches.shuffled(pairs, generator, drop_last=True))
        assert all(batch.values.shape == batch.flags.shape == batch.expected.shape == (16, 10) for batch in made)
        assert len(made) == len(pairs) // 16
        flagged[subset] = sum(float((batch.flags.sum(1) == 0).sum()) for batch in made)
    assert flagged["with_targets"] == 0 < flagged["uniform"]


def test_chunks_cover_all_genes_and_each_has_the_targets():
    generator = torch.Generator().manual_seed(0)
    chunks = cut_genes(25, 10, [24, 3], generator)
    assert [len(chunk) for chunk in chunks] == [10, 10, 9]
    assert all(set(chunk[:2]) == {3, 24} and len(set(chunk)) == len(chunk) for chunk in chunks)
    assert set(np.concatenate(chunks)) == set(range(25))
    assert [list(chunk) for chunk in cut_genes(5, 10, [2], generator)] == [[0, 1, 2, 3, 4]]
    values = np.arange(50.0, dtype=np.float32).reshape(2, 25)
    mean = predict_mean(lambda rows, genes: torch.from_numpy(rows + 1), values, chunks, 1)
    np.testing.assert_array_equal(mean, values.mean(axis=0) + 1)


def test_attention_of_few_cells_at_a_time_has_the_same_gradients(monkeypatch):
    sizes = Sizes(width=16, heads=2, hidden=16, layers=2, class_layers=2, tokens=10, padding=9)
    gradients = []
    for most in (2**26, 1, 2 * 5 * 5 * 2):  # all cells, one, two at a time
        monkeypatch.setattr("pertharness_scgpt.network.MOST_WEIGHTS", most)
        torch.manual_seed(0)
        network = Network(sizes, dropout=1e-12).double().train()
        values = torch.linspace(0, 3, 15, dtype=torch.float64).reshape(3, 5)
        network(torch.arange(5), values, torch.zeros(3, 5, dtype=torch.int64)).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters() if parameter.grad is not None])
    for other in gradients[1:]:
        for found, expected in zip(other, gradients[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_the_benchmark_compares_equal_predictions():
    script = Path(__file__).parents[3] / "benchmarks" / "scgpt.py"
    command = [sys.executable, script, "--small", "--seconds", "0.1", "--genes", "50", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = {line["what"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(lines) == {"machine", "reading", "loading", "prediction", "bfloat16", "training"}
    assert lines["prediction"]["largest_difference"] < 1e-4
    assert lines["prediction"]["ratio_of_time"] > 0


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_training_in_half_precision_learns_and_is_not_that_in_float32(paired, tiny, tmp_path, precision):
    """On a GPU layers are in half precision, and a loss in float16 is scaled; a CPU can do the same."""
    make, _, genes = paired
    pairs = make("identity").draw(np.random.RandomState(0))
    before, losses = {}, {}
    for each in ("float32", precision):
        torch.manual_seed(0)
        published = read_published(Files(*map(Path, tiny.values())))
        network = Network(published.sizes, dropout=0)
        published.load_into(network, "fresh")
        training = Training(
            network=network, batches=Batches(genes.tokens, 32, 40, "uniform", torch.device("cpu")),
            pairs=lambda: pairs, validation=pairs, choices=PROCEDURES["paper"], precision=each,
            generator=torch.Generator().manual_seed(0), seed=1,
        )  # fmt: skip
        with torch.no_grad():
            before[each] = training.validate(0)
        (tmp_path / each).mkdir()
        settings = Settings.model_validate({"training": {"epochs": 2, "lr": 1e-2, "batch_size": 32}})
        training.run(settings, {"torch": training.generator}, tmp_path / each)
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
        with torch.no_grad():
            losses[each] = training.validate(0)
    assert before[precision] == pytest.approx(before["float32"], rel=0.01)
    # A loss in float16 is scaled until its gradients are numbers; the first steps are left out.
    assert losses["float32"] < 0.75 * before["float32"]
    assert losses[precision] < 0.75 * before[precision]
    assert losses[precision] != losses["float32"]
