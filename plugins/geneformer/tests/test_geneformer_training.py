"""Fine-tuning and predicting on planted data, with a tiny checkpoint: quirks, what is left out, resume after a kill."""

import dataclasses
import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pertharness import CONTROL, DataError, Skip
from pertharness.testing.planted import GENES
from pertharness_geneformer import EMBEDDING, MODEL, embed, load_model, predict, save_model
from scipy import sparse

torch = pytest.importorskip("torch", reason="needs the plugin's environment")
pytest.importorskip("transformers", reason="needs the plugin's environment")
from pertharness_foundation.ridge import fit_ridge  # noqa: E402
from pertharness_geneformer.network import make_classifier  # noqa: E402
from pertharness_geneformer.settings import EmbeddingFiles, Settings, Training  # noqa: E402
from pertharness_geneformer.tiny import TINY  # noqa: E402
from pertharness_geneformer.training import Classifier, Labelled, freeze, groups_of  # noqa: E402


def ask(model, posed, queries, seed=1):
    return predict(model=model, controls=posed.controls, queries=queries, device="cpu", seed=seed)


def changed(posed, change):
    """Return the task with other values of `train`."""
    train = posed.train.copy()
    train.X = sparse.csr_matrix(change(train.X.toarray()), dtype=np.float32)
    return dataclasses.replace(posed, train=train)


def as_knock_out(posed):
    return {"task": posed.task.model_copy(update={"modality": "ko"})}


def test_predictions_are_those_of_the_decoder(train, posed):
    model = train()
    queries = ["KLF1+MYC", "CEBPE", "ACTB+KLF1"]
    answer = ask(model, posed, queries)
    assert list(answer.obs["perturbation"]) == queries
    known = [label for label in model.conditions.labels if label in model.conditions.embeddings]
    assert CONTROL in known
    assert not model.conditions.embeddings[CONTROL].any()
    pool = model.pool_of(sparse.csr_matrix(posed.controls.X), "cpu")
    vectors, reasons = pool.embed(queries)
    assert not reasons
    means = np.array([model.conditions.means[model.conditions.labels.index(label)] for label in known])
    ridge = fit_ridge(np.array([model.conditions.embeddings[label] for label in known]), means)
    expected = ridge.predict(np.array([vectors[query] for query in queries]))
    np.testing.assert_allclose(answer.X, expected, atol=1e-9)


def test_the_record_says_what_was_done_and_lost(train, posed):
    notes = " ".join(ask(train(), posed, ["KLF1"]).uns["notes"])
    for text in (
        "genes: 38 of 40 have a token of Geneformer (38 by symbol); 2 have none and are left out, such as 'TP53'",
        "targets: overexpress", "weights: 53 tensors loaded, 5 ignored, 4 fresh",
        "training perturbations have no embedding (first: ", "TP53 has no token in Geneformer's dictionaries",
        "float32: trained 2 epochs; the weights are those of epoch",
    ):  # fmt: skip
        assert text in notes, text


def test_queries_without_a_token_are_not_answered_by_name(train, posed):
    answer = ask(train(), posed, ["KLF1", "KLF1+ZNF9999", "TP53"])
    assert list(answer.obs["perturbation"]) == ["KLF1"]
    assert dict(answer.uns["unanswered"]) == {
        "KLF1+ZNF9999": "ZNF9999 has no token in Geneformer's dictionaries",
        "TP53": "TP53 has no token in Geneformer's dictionaries",
    }


@pytest.mark.parametrize("procedure", ["paper", "corrected"])
def test_the_order_of_queries_changes_nothing(train, posed, procedure):
    model = train(procedure=procedure)
    first, second = (ask(model, posed, queries) for queries in (["KLF1", "MYC"], ["MYC", "KLF1"]))
    np.testing.assert_allclose(first.X, second.X[::-1], atol=1e-12)


def test_a_screen_without_a_modality_is_a_skip_that_names_the_flag(train, posed):
    task = posed.task.model_copy(update={"modality": None})
    with pytest.raises(Skip, match=r"--modality crispra, crispri or ko, or set geneformer\[perturbation=delete\]"):
        train(task=task)
    assert train(task=task, perturbation="overexpress", epochs=1).mode == "overexpress"


def test_the_modality_and_the_parameter_choose_what_is_done(train, posed):
    assert train(epochs=1).mode == "overexpress"
    assert train(epochs=1, procedure="corrected", **as_knock_out(posed)).mode == "delete"
    assert train(epochs=1, procedure="corrected", perturbation="delete").mode == "delete"


def without(gene):
    """Return a change that takes a gene out of every other cell."""

    def change(x):
        x = x.copy()
        x[::2, GENES.index(gene)] = 0
        return x

    return change


def test_a_target_that_short_cells_do_not_express_is_named_as_published(train, posed):
    posed = changed(posed, without("KLF1"))
    model = train(posed, **as_knock_out(posed))
    controls = posed.train[(posed.train.obs["perturbation"] == CONTROL).to_numpy()].copy()
    answer = predict(model=model, controls=controls, queries=["KLF1", "MYC"], device="cpu", seed=1)
    assert list(answer.obs["perturbation"]) == ["MYC"]
    reason = answer.uns["unanswered"]["KLF1"]
    assert "does not express KLF1, and has fewer than 100 tokens, as 20 of the 20 have" in reason
    assert "absent_target=skip_cell" in reason


def test_a_target_that_no_control_expresses(train, posed):
    controls = posed.controls.copy()
    values = controls.X.toarray()
    values[:, GENES.index("KLF1")] = 0
    controls.X = sparse.csr_matrix(values)
    model = train(absent_target="skip_cell", **as_knock_out(posed))
    answer = predict(model=model, controls=controls, queries=["KLF1"], device="cpu", seed=1)
    assert dict(answer.uns["unanswered"]) == {"KLF1": "none of the 20 control cells expresses KLF1"}
    model = train(absent_target="no_op", control_embedding="own", **as_knock_out(posed))
    vectors, _ = model.pool_of(sparse.csr_matrix(controls.X), "cpu").embed(["KLF1", CONTROL])
    np.testing.assert_array_equal(vectors["KLF1"], vectors[CONTROL])
    answer = predict(model=model, controls=controls, queries=["KLF1", "MYC"], device="cpu", seed=1)
    line = "1 perturbations (first: 'KLF1') have targets that no control cell expresses: none is deleted"
    assert line in list(answer.uns["notes"])


def test_an_edit_of_another_gene_than_the_target_stands_in_the_record():
    from pertharness_geneformer.conditions import Pool, Targets
    from pertharness_geneformer.settings import PROCEDURES

    targets = Targets({"KLF1": 900, "MYC": 5}, any_case=False)
    cells = [np.arange(120), np.arange(110)]
    paper, corrected = (Pool(cells, None, targets, "delete", PROCEDURES[name], 200) for name in PROCEDURES)
    (line,) = paper.edits_note(["KLF1", "KLF1+MYC", "MYC", CONTROL])
    assert line.startswith("1 perturbations (first: 'KLF1') have targets that no control cell expresses")
    assert "the token at place 100 from the end is deleted, as published" in line
    assert corrected.edits_note(["KLF1"]) == paper.edits_note(["MYC"]) == []


def test_the_control_is_zeros_or_its_own_cells(train):
    zero, own = (train(control_embedding=value).conditions.embeddings[CONTROL] for value in ("zero", "own"))
    assert zero.shape == own.shape == (16,)
    assert not zero.any()
    assert own.all()


def test_layer_and_pooling_change_the_vectors(train):
    kinds = [("last", "cls"), ("second_to_last", "cls"), ("last", "mean")]
    vectors = [train(layer=layer, pooling=pooling).conditions.embeddings["MYC"] for layer, pooling in kinds]
    assert not np.allclose(vectors[0], vectors[1])
    assert not np.allclose(vectors[0], vectors[2])


def test_how_many_cells_are_computed_together_changes_no_number(train, posed):
    many, few = (ask(train(forward_batch_size=size), posed, ["KLF1"]).X for size in (100, 3))
    np.testing.assert_allclose(many, few, atol=1e-5)


def test_controls_for_the_embedding_leave_the_training_as_it_is(train, posed):
    own, stand_ins = train(), [train(embedding=kind) for kind in ("random", "permuted")]
    answers = [ask(model, posed, ["KLF1", "MYC"]) for model in (own, *stand_ins)]
    for model, answer in zip(stand_ins, answers[1:], strict=True):
        for label, vector in own.conditions.embeddings.items():
            np.testing.assert_array_equal(model.conditions.embeddings[label], vector)
        assert not np.allclose(answer.X, answers[0].X)
        assert "as a control" in " ".join(answer.uns["notes"])


@pytest.mark.parametrize("procedure", ["paper", "corrected"])
def test_a_saved_model_predicts_the_same(train, posed, tmp_path, procedure):
    model = train(procedure=procedure)
    save_model(model=model, folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    loaded = load_model(folder=tmp_path, device="cpu")
    first, second = (ask(each, posed, ["KLF1", "TP53"]) for each in (model, loaded))
    np.testing.assert_array_equal(first.X, second.X)
    assert first.uns["notes"] == second.uns["notes"]
    assert dict(first.uns["unanswered"]) == dict(second.uns["unanswered"])


KILLED = """
import json, os, signal, sys
from pathlib import Path
from pertharness.testing import pose
from pertharness_geneformer import MODEL, fit
class Log:
    def write(self, text):
        if text.startswith("epoch 2 of 4"): os.kill(os.getpid(), signal.SIGKILL)
    def flush(self): pass
sys.stderr = Log()
posed = pose("double", "cells")
params = {**MODEL.params, **json.loads(sys.argv[1])}
fit(train=posed.train, task=posed.task, files={}, params=params, device="cpu", seed=1, workdir=Path(sys.argv[2]))
"""


def test_a_killed_training_goes_on_to_the_same_weights(train, fast, tiny, tmp_path):
    (tmp_path / "killed").mkdir()
    words = [json.dumps({**fast, **tiny, "epochs": 4}), tmp_path / "killed"]
    here = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], env=here, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed, whole = train(workdir=tmp_path / "killed", epochs=4), train(epochs=4)
    assert resumed.notes == whole.notes
    found, expected = (model.network.state_dict() for model in (resumed, whole))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    for label, vector in whole.conditions.embeddings.items():
        np.testing.assert_array_equal(resumed.conditions.embeddings[label], vector)


def test_the_first_layers_stay_as_published(train, tiny):
    from safetensors.torch import load_file

    published, trained = load_file(tiny["checkpoint"]), train().network.state_dict()
    same = {key for key, value in published.items() if key in trained and torch.equal(value, trained[key])}
    assert same == {key for key in published if key.startswith(("bert.encoder.layer.0.", "bert.encoder.layer.1."))}


def test_raw_counts_are_refused(train, posed):
    with pytest.raises(DataError, match=r"log1p of counts per 10 000 .*raw counts\? .*--scale counts --normalise"):
        train(changed(posed, lambda x: np.expm1(x)))


def test_cells_without_a_known_gene_are_left_out_and_counted(train, posed):
    def change(x):
        x = np.where(np.arange(len(x))[:, None] < 3, 0, x)
        x[0, GENES.index("TP53")] = 1.0  # which has no token
        return x

    model = train(changed(posed, change))
    assert f"3 of {posed.train.n_obs} training cells have no gene with a token and are left out" in model.notes


def test_too_little_to_train_on_is_a_skip(train, posed):
    labels = posed.train.obs["perturbation"].astype(str).to_numpy()
    for chosen, message in (
        (labels == CONTROL, "the training data have controls alone"),
        (labels != CONTROL, "there are none with a known gene in the training data"),
    ):
        with pytest.raises(Skip, match=message):
            train(dataclasses.replace(posed, train=posed.train[chosen].copy()))


def test_genes_in_another_order_are_refused(train, posed):
    model = train()
    with pytest.raises(DataError, match="the genes of the controls are not those that it was trained on"):
        predict(model=model, controls=posed.controls[:, ::-1].copy(), queries=["KLF1"], device="cpu", seed=1)


def test_a_loss_that_is_no_number_is_an_error(train):
    with pytest.raises(DataError, match=r"loss is (nan|inf) in epoch"):
        train(lr=1e30)


# The published trainer.


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    network = make_classifier(dataclasses.replace(TINY, vocab_size=30), 3)
    cells = [np.array([2, *range(4, 4 + n), 3]) for n in (3, 9, 5, 2, 7, 4, 8)]
    classes = np.array([0, 1, 2, 0, 1, 2, 0])
    options = Training(batch_size=3, epochs=2)
    part = Labelled(cells, classes)
    return Classifier(network, part, part, options, 0, torch.device("cpu"), "float32", seed=42)


def test_the_learning_rate_falls_in_a_line_and_the_last_batch_counts(classifier, tmp_path, monkeypatch):
    rates, sizes = [], []
    step = torch.optim.AdamW.step

    def watched(optimiser, *args, **kwargs):
        rates.append(optimiser.param_groups[0]["lr"])
        return step(optimiser, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    classifier.train(tmp_path, "")
    np.testing.assert_allclose(rates, [5e-5 * (1 - number / 6) for number in range(6)])
    sizes = [len(classes) for _, classes in classifier.epoch(0)]
    assert sizes == [3, 3, 1]


def test_biases_and_norms_have_no_weight_decay(classifier):
    freeze(classifier.network, 2)
    decayed, bare = groups_of(classifier.network, 0.001)
    assert (decayed["weight_decay"], bare["weight_decay"]) == (0.001, 0.0)
    names = {id(parameter): name for name, parameter in classifier.network.named_parameters()}
    bare_names = {names[id(parameter)] for parameter in bare["params"]}
    assert all(name.endswith("bias") or "LayerNorm" in name for name in bare_names)
    decayed_names = {names[id(parameter)] for parameter in decayed["params"]}
    assert "bert.embeddings.word_embeddings.weight" in decayed_names
    assert not any("encoder.layer.0." in name or "encoder.layer.1." in name for name in decayed_names | bare_names)
    assert any("encoder.layer.2." in name for name in decayed_names)


def test_the_evaluation_loss_is_the_mean_over_cells(classifier):
    classifier.network.eval()
    with torch.no_grad():
        alone = [
            float(dataclasses.replace(classifier, evaluation=Labelled([cell], np.array([label]))).validate(0))
            for cell, label in zip(classifier.evaluation.cells, classifier.evaluation.classes, strict=True)
        ]
        assert classifier.validate(0) == pytest.approx(np.mean(alone), abs=1e-6)


def test_the_order_of_an_epoch_depends_on_its_number_and_the_seed(classifier):
    def order(seed, epoch):
        batches = dataclasses.replace(classifier, seed=seed).epoch(epoch)
        return [tuple(row.tolist()) for batch, _ in batches for row in batch.ids]

    assert order(42, 0) == order(42, 0)
    assert order(42, 0) != order(42, 1) == order(43, 0)


# The embedding of genes.


def test_the_embedding_has_a_row_for_each_known_gene(tiny):
    from safetensors.torch import load_file

    params = {**EMBEDDING.params, **{name: tiny[name] for name in EmbeddingFiles.model_fields}}
    frame = embed(labels=[CONTROL, "KLF1", "TP53", "myc", "KLF1"], files={}, params=params)
    assert list(frame.index) == ["KLF1", "myc"]
    table = load_file(tiny["checkpoint"])["bert.embeddings.word_embeddings.weight"]
    tokens, mapping = (pickle.loads(Path(tiny[name]).read_bytes()) for name in ("tokens", "mapping"))
    rows = [tokens[mapping[gene]] for gene in ("KLF1", "MYC")]
    np.testing.assert_array_equal(frame.to_numpy(), table[rows].double().numpy())
    with pytest.raises(Skip, match=r"none of the 1 genes \(first: 'ZNF9999'\) has a token.*such as 'KLF1'"):
        embed(labels=["ZNF9999"], files={}, params=params)


def test_nothing_of_the_library_reaches_for_the_network():
    code = (
        "import os, pertharness_geneformer.network, huggingface_hub.constants as c; "
        "print(c.HF_HUB_OFFLINE, c.HF_HUB_DISABLE_TELEMETRY)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "True"]


def test_a_card_is_read_without_torch():
    code = "import sys, pertharness_geneformer as p; p.describe(); print({'torch', 'transformers'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_parameters_of_the_card_are_those_of_the_settings():
    assert MODEL.params == {name: value for group in Settings().model_dump().values() for name, value in group.items()}
