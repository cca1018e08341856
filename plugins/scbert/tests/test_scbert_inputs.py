"""Files and data that are not what they have to be: each a message, or a state of the record."""

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pertharness import DataError, Skip
from pertharness.data.canonical import select
from pertharness.testing.planted import GENES, planted_cells
from scipy import sparse

torch = pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")

from pertharness_foundation.checkpoint import CheckpointError  # noqa: E402
from pertharness_scbert import MODEL, describe, embed, fit, load_model, predict, save_model, weights  # noqa: E402
from pertharness_scbert.cells import lay_out_genes, read_screen  # noqa: E402
from pertharness_scbert.tiny import TINY, write_tiny  # noqa: E402
from pertharness_scbert.weights import CHECKPOINT, GENE_LIST, check_genes  # noqa: E402


@pytest.fixture
def quick(tiny):
    """Parameters of the shortest run."""
    return tiny | {"epochs": 1, "most_cells": 60, "smallest_condition": 2}


def changed(params, tmp_path, change):
    """Return the parameters with a checkpoint whose tensors were changed."""
    content = torch.load(params["checkpoint"], weights_only=True)
    change(content["model_state_dict"])
    path = tmp_path / CHECKPOINT.filename
    torch.save(content, path)
    return params | {"checkpoint": str(path)}


class Danger:
    def __reduce__(self):
        return (Path("/nonexistent/was-run").touch, ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>Log in to Weixin</html>", "is a web page, not the file"),
        (b"", "is empty"),
        (pickle.dumps({"model_state_dict": {}}), "is a plain pickle"),
        (pickle.dumps(Danger()), "is a plain pickle"),
    ],
)
def test_a_file_that_is_no_checkpoint(posed, quick, run_fit, tmp_path, content, message):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        run_fit(posed, quick | {"checkpoint": str(path)})


def test_a_checkpoint_that_would_run_code_is_not_opened(posed, quick, run_fit, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model_state_dict": Danger()}, path)
    with pytest.raises(CheckpointError, match="reading that would run code"):
        run_fit(posed, quick | {"checkpoint": str(path)})


def test_a_truncated_checkpoint(posed, quick, run_fit, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(Path(quick["checkpoint"]).read_bytes()[:20_000])
    with pytest.raises(CheckpointError, match="its download did not finish"):
        run_fit(posed, quick | {"checkpoint": str(path)})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("norm.bias", None, r"lacks 'norm.bias' \[16\]"),
        ("performer.net.layers.1.0.norm.weight", torch.zeros(3), r"layers.1.0.norm.weight' \[3\] in place of \[16\]"),
        ("performer.net.layers.2.0.norm.weight", torch.zeros(16), r"lacks 'performer.net.layers.2.0.fn"),
        ("performer.net.layers.9999999.0.norm.weight", torch.zeros(16), "has 3 layers, and one is number 9999999"),
        ("cls_token", torch.zeros(2), "'cls_token'"),
        ("norm.weight", torch.full((16,), torch.nan), "no finite number in 'norm.weight'"),
        ("token_emb.weight", None, r"is not the published layout \('token_emb.weight'\): expected the keys"),
        ("token_emb.weight", torch.zeros(16), "is not the published layout"),
        ("performer.net.layers.0.0.fn.to_q.weight", torch.zeros(17, 16), "queries of 17 numbers with heads of 8"),
    ],
)
def test_each_key_of_a_checkpoint_is_accounted_for(posed, quick, run_fit, tmp_path, key, value, message):
    def change(state):
        if value is None:
            del state[key]
        else:
            state[key] = value

    with pytest.raises(CheckpointError, match=message):
        run_fit(posed, changed(quick, tmp_path, change))


def test_a_network_of_one_layer_has_none_to_be_trained(posed, quick, run_fit, tmp_path):
    checkpoint, _ = write_tiny(tmp_path, GENES, sizes=replace(TINY, depth=1))
    with pytest.raises(CheckpointError, match="has 1 layer; fine-tuning trains the last but one of at least 2"):
        run_fit(posed, quick | {"checkpoint": str(checkpoint)})


def test_tensors_alone_are_read_as_those_of_the_published_file(posed, quick, run_fit, tmp_path):
    path = tmp_path / "tensors.pt"
    torch.save(torch.load(quick["checkpoint"], weights_only=True)["model_state_dict"], path)
    fitted = run_fit(posed, quick | {"checkpoint": str(path)})
    assert any(note.startswith("weights: 33 tensors loaded, 2 ignored, 8 fresh") for note in fitted.notes)


def test_a_gene_list_of_another_size(posed, quick, run_fit, tmp_path):
    _, gene_list = write_tiny(tmp_path, GENES[:-1])
    with pytest.raises(CheckpointError, match="is for 40 genes, and the gene list has 39"):
        run_fit(posed, quick | {"gene_list": str(gene_list)})


def test_a_gene_list_of_another_order_is_refused_for_the_published_checkpoint(posed, quick, tmp_path, monkeypatch):
    files = {CHECKPOINT.filename: Path(quick["checkpoint"]), GENE_LIST.filename: Path(quick["gene_list"])}
    params = {key: value for key, value in quick.items() if key not in ("checkpoint", "gene_list")}
    known = hashlib.sha256("\n".join(GENES).encode()).hexdigest()
    monkeypatch.setattr(weights, "SYMBOLS_SHA256", known)

    def notes_of(**more):
        fitted = fit(train=posed.train, files=files, params=params | more, device="cpu", seed=1, workdir=tmp_path)
        return fitted.notes

    assert "are those known for the published checkpoint" in notes_of()[0]
    shuffled = tmp_path / "vocab.json"
    shuffled.write_text(json.dumps([GENES[1], GENES[0], *GENES[2:]]))
    files[GENE_LIST.filename] = shuffled
    with pytest.raises(CheckpointError, match=r"another order, would give each gene .* set any_order = true"):
        notes_of()
    assert "is not that known" in notes_of(any_order=True)[0]


def test_the_order_of_a_test_checkpoint_is_reported(tmp_path):
    note = check_genes(["A", "B"], replace(TINY, n_genes=2), "x", must_be_known=False)
    assert hashlib.sha256(b"A\nB").hexdigest()[:12] in note


def test_data_of_other_genes_are_an_error_with_an_example(posed, quick, run_fit):
    train = posed.train.copy()
    train.var_names = [f"GENE{number}" for number in range(train.n_vars)]
    with pytest.raises(DataError, match=r"none of the 40 genes \(first: 'GENE0'\)"):
        run_fit(replace(posed, train=train), quick)


def test_of_equal_symbols_the_first_is_taken():
    layout = lay_out_genes(["B", "A", "B", "X"], ["A", "B", "C"])
    assert layout.listed.tolist() == [1, 0, -1, -1]
    assert layout.note() == (
        "genes: 2 of the 3 of scBERT's list are in the data, by exact symbol; the other 1 are taken for unexpressed; 2 "
        "genes of the data are not in the list"
    )


def test_genes_outside_the_list_are_predicted_by_the_decoder_alone(posed, quick, run_fit, make_oracle, tmp_path):
    checkpoint, gene_list = write_tiny(tmp_path, GENES[:-3])
    fitted = run_fit(posed, quick | {"checkpoint": str(checkpoint), "gene_list": str(gene_list)})
    oracle = make_oracle(posed.queries, listed=GENES[:-3])
    prediction = predict(model=fitted, controls=posed.controls, queries=posed.queries, oracle=oracle, seed=1)
    assert np.isfinite(prediction.X).all()
    assert list(prediction.var_names) == list(GENES)


@pytest.mark.parametrize("as_dense", [False, True])
def test_cells_with_too_few_genes_are_left_out_and_counted(posed, quick, run_fit, as_dense):
    train = posed.train.copy()
    values = train.X.toarray()
    values[:3, 5:] = 0
    train.X = values if as_dense else sparse.csr_matrix(values)
    notes = run_fit(replace(posed, train=train), quick).notes
    assert f"3 of {train.n_obs} training cells express less than 10 genes of the list" in " ".join(notes)


def test_no_control_cell_with_enough_genes_is_a_skip(posed, quick, run_fit):
    with pytest.raises(Skip, match=r"there are none \(172 cells express too few genes of its list; see min_genes\)"):
        run_fit(posed, quick | {"min_genes": 41})
    perturbed = posed.train[(posed.train.obs["perturbation"] != "control").to_numpy()].copy()
    with pytest.raises(Skip, match=r"there are none \(the training data have no controls\)"):
        run_fit(replace(posed, train=perturbed), quick)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: np.expm1(x), "are these raw counts"),
        (lambda x: -x, "none below 0"),
        (lambda x: np.full_like(x, np.nan), "no number"),
    ],
)
def test_values_that_are_no_log1p_are_refused(posed, quick, run_fit, change, message):
    train = posed.train.copy()
    train.X = sparse.csr_matrix(change(train.X.toarray()))
    with pytest.raises(DataError, match=message):
        run_fit(replace(posed, train=train), quick)


def test_training_conditions_without_an_embedding_are_counted(posed, quick, run_fit, make_oracle, tmp_path):
    genes = [gene for gene in GENES if gene != "JUN"]
    checkpoint, gene_list = write_tiny(tmp_path, genes)
    train = posed.train.copy()
    values = train.X.toarray()
    values[(train.obs["perturbation"] == "MYC").to_numpy(), 5:] = 0
    train.X = sparse.csr_matrix(values)
    params = quick | {"checkpoint": str(checkpoint), "gene_list": str(gene_list)}
    fitted = run_fit(replace(posed, train=train), params)
    notes = " ".join(fitted.notes)
    assert "training conditions have a target outside scBERT's gene list, such as 'JUN'" in notes
    assert "1 training conditions have no cell that expresses enough genes, such as 'MYC', and no embedding" in notes
    assert {"JUN", "MYC"}.isdisjoint(fitted.conditions.embeddings)
    queries = ["JUN", "CEBPE+NOBODY", "JUN+NOBODY", *posed.queries]
    oracle = make_oracle(["JUN", *posed.queries], listed=genes)
    prediction = predict(model=fitted, controls=posed.controls, queries=queries, oracle=oracle, seed=1)
    assert prediction.uns["unanswered"] == {
        "JUN": "JUN is not in scBERT's gene list", "CEBPE+NOBODY": "NOBODY is not in scBERT's gene list",
        "JUN+NOBODY": "JUN and NOBODY are not in scBERT's gene list",
    }  # fmt: skip
    assert list(prediction.obs["perturbation"]) == posed.queries


def held_out(posed, queries, change):
    """Return the cells of the planted screen with values of some changed."""
    cells = select(planted_cells(), list(queries))
    values = cells.X.toarray()
    change(values, cells)
    cells.X = sparse.csr_matrix(values)
    return cells


def test_held_out_cells_with_too_few_genes_are_a_reason(posed, quick, run_fit, make_oracle):
    def change(values, cells):
        values[(cells.obs["perturbation"] == posed.queries[0]).to_numpy(), 5:] = 0

    fitted = run_fit(posed, quick)
    oracle = make_oracle(posed.queries, cells=held_out(posed, posed.queries, change))
    queries = [*posed.queries, "CEBPE+FOS"]
    prediction = predict(model=fitted, controls=posed.controls, queries=queries, oracle=oracle, seed=1)
    assert prediction.uns["unanswered"] == {
        posed.queries[0]: "none of its 12 held-out cells expresses 10 genes of scBERT's list",
        "CEBPE+FOS": "the oracle has no cell of it",
    }


def test_a_target_that_no_cell_expresses_is_pasted_as_0_and_named(posed, quick, run_fit, make_oracle):
    query, gene = posed.queries[0], posed.queries[0].split("+")[0]

    def change(values, cells):
        values[(cells.obs["perturbation"] == query).to_numpy(), GENES.index(gene)] = 0

    fitted = run_fit(posed, quick)
    oracle = make_oracle(posed.queries, cells=held_out(posed, posed.queries, change))
    prediction = predict(model=fitted, controls=posed.controls, queries=posed.queries, oracle=oracle, seed=1)
    assert list(prediction.obs["perturbation"]) == posed.queries
    assert f"targets that no held-out cell of their condition expresses, pasted as 0: {gene}" in prediction.uns["notes"]


def test_a_listed_target_that_the_data_do_not_measure_is_pasted_as_0_and_named(posed, quick, run_fit, make_oracle):
    parts = {name: getattr(posed, name)[:, list(GENES[1:])].copy() for name in ("train", "controls")}
    task = replace(posed, **parts)
    fitted = run_fit(task, quick)
    assert GENES[0] in fitted.conditions.embeddings
    oracle = make_oracle(posed.queries, cells=planted_cells()[:, list(GENES[1:])].copy())
    prediction = predict(model=fitted, controls=task.controls, queries=posed.queries, oracle=oracle, seed=1)
    assert f"targets that the data do not measure are pasted as 0: {GENES[0]}" in prediction.uns["notes"]
    assert np.isfinite(prediction.X).all()


def test_a_prediction_without_an_oracle_is_a_skip(posed, quick, run_fit, make_oracle):
    fitted = run_fit(posed, quick)
    with pytest.raises(Skip, match="pastes observed values of the targets of held-out cells"):
        predict(model=fitted, controls=posed.controls, queries=posed.queries, oracle=None, seed=1)
    oracle = make_oracle(posed.queries)
    del oracle.obs["total_listed"]
    with pytest.raises(DataError, match=r"the oracle has no obs\['total_listed'\]"):
        predict(model=fitted, controls=posed.controls, queries=posed.queries, oracle=oracle, seed=1)


def test_controls_of_other_genes_are_an_error(posed, quick, run_fit, make_oracle):
    fitted = run_fit(posed, quick)
    controls, oracle = posed.controls[:, ::-1].copy(), make_oracle(posed.queries)
    with pytest.raises(DataError, match="not those that the model was trained on, in their order"):
        predict(model=fitted, controls=controls, queries=posed.queries, oracle=oracle, seed=1)


@pytest.mark.parametrize("key_maximum", ["batch", "cell"])
def test_a_batch_of_one_has_the_maximum_of_its_cell(posed, quick, run_fit, tmp_path, key_maximum):
    network = run_fit(posed, quick | {"batch_size": 1, "key_maximum": key_maximum}).embedder.network
    ids = torch.randint(0, TINY.n_tokens, (2, len(GENES) + 1))
    with torch.no_grad():
        network.performer.key_maximum = "cell"
        together = network(ids)
        network.performer.key_maximum = "batch"
        alone = torch.cat([network(row[None]) for row in ids])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_a_loss_that_is_no_number_is_an_error(posed, quick, run_fit):
    with pytest.raises(DataError, match=r"loss is (nan|inf) in epoch"):
        run_fit(posed, quick | {"lr": 1e38, "epochs": 4})


def test_files_that_are_not_there_are_a_skip_that_says_which_and_from_where(posed, quick, run_fit):
    for param, file in (("checkpoint", CHECKPOINT), ("gene_list", GENE_LIST)):
        without = {key: value for key, value in quick.items() if key != param}
        with pytest.raises(Skip, match=f"needs '{file.filename}'.*{file.url[:30]}.*{param}=/PATH"):
            run_fit(posed, without)
        with pytest.raises(DataError, match=rf"scbert: {param}='own\.file' is not an absolute path"):
            run_fit(posed, quick | {param: "own.file"})


def test_the_card_declares_files_and_oracle():
    (model,), (embedding,) = describe().models, describe().embeddings
    assert [file.filename for file in model.weights] == ["panglao_pretrain.pth", "vocab.json"]
    assert round(model.weights[0].size_mb * 1e6, -3) == 87_632_000  # 87 631 538 bytes
    assert model.weights[0].sha256.startswith("aa27109136580b24")
    assert all(file.by_hand for file in model.weights)
    assert (model.oracle, model.information) == ("target_expression", "oracle")
    assert "GPL-3.0" in model.licence
    assert embedding.weights == model.weights
    assert MODEL.file_params == ("checkpoint", "gene_list")


def test_the_gene_embedding_is_the_positional_table(tiny):
    params = {name: tiny[name] for name in ("checkpoint", "gene_list")}
    table = embed(labels=["GATA1", "NOBODY", "KLF1"], files={}, params=params)
    assert list(table.index) == ["GATA1", "KLF1"]
    state = torch.load(tiny["checkpoint"], weights_only=True)["model_state_dict"]["pos_emb.emb.weight"]
    rows = [GENES.index(gene) for gene in table.index]
    pd.testing.assert_frame_equal(
        table.reset_index(drop=True), pd.DataFrame(state[rows].numpy(), columns=table.columns)
    )
    with pytest.raises(Skip, match="none of the 1 genes"):
        embed(labels=["NOBODY"], files={}, params=params)


@pytest.mark.parametrize("procedure", ["paper", "corrected"])
def test_a_saved_model_predicts_the_same_without_any_file(posed, quick, run_fit, make_oracle, tmp_path, procedure):
    checkpoint, _ = write_tiny(tmp_path, GENES)
    fitted = run_fit(posed, quick | {"checkpoint": str(checkpoint), "procedure": procedure})
    folder, oracle = tmp_path / "saved", make_oracle(posed.queries)
    folder.mkdir()
    save_model(model=fitted, folder=folder)
    checkpoint.unlink()
    restored = load_model(folder=folder, device="cpu")
    results = [
        predict(model=model, controls=posed.controls, queries=posed.queries, oracle=oracle, seed=1)
        for model in (fitted, restored)
    ]
    np.testing.assert_array_equal(results[0].X, results[1].X)
    assert results[0].uns["notes"] == results[1].uns["notes"]


def test_a_screen_is_read_in_parts(posed, monkeypatch):
    layout = lay_out_genes(posed.train.var_names, GENES)
    whole = read_screen(posed.train, layout, 10)
    monkeypatch.setattr("pertharness_scbert.cells.CHUNK", 7)
    parts = read_screen(posed.train, layout, 10)
    np.testing.assert_array_equal(whole.totals, parts.totals)
    np.testing.assert_array_equal(whole.rows, parts.rows)
    assert float(whole.totals.min()) == pytest.approx(1e4, rel=1e-5)  # all genes are listed
