"""Fitting and predicting on planted cells with a small checkpoint."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import DataError, Skip
from pertharness.data.canonical import control_mean, select
from pertharness.testing.planted import GENES, planted_cells
from scipy import sparse

torch = pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")

from pertharness_foundation.counts import recover_counts  # noqa: E402
from pertharness_foundation.ridge import fit_ridge  # noqa: E402
from pertharness_uce import embed, fit, load_model, save_model  # noqa: E402
from pertharness_uce.cells import paste  # noqa: E402
from pertharness_uce.embedder import embed_cells  # noqa: E402
from pertharness_uce.fitting import draw_controls  # noqa: E402
from pertharness_uce.predicting import observe_query  # noqa: E402


def means_of(prediction):
    return dict(zip(prediction.obs["perturbation"].astype(str), prediction.X, strict=True))


def largest(first, second):
    first, second = means_of(first), means_of(second)
    assert set(first) == set(second)
    return max(np.abs(first[query] - second[query]).max() for query in first)


@pytest.fixture
def fitted(posed, tiny, run_fit):
    return run_fit(posed.train, tiny)


def test_queries_are_answered_near_the_training_means(fitted, posed, held_out, run_predict):
    prediction = run_predict(fitted, posed, held_out)
    assert list(prediction.obs["perturbation"]) == posed.queries
    assert prediction.X.dtype == np.float64
    distance = np.abs(prediction.X - control_mean(posed.controls)).mean()
    assert 0.005 < distance < 0.5
    notes = "\n".join(prediction.uns["notes"])
    assert "weights: 43 tensors loaded, 18 ignored, and the rows that are needed of the 54 of the token table" in notes
    assert "genes: 40 of 40 are in the model's vocabulary" in notes
    assert "decoder: fitted on 12 of 12 training conditions" in notes


def test_the_embedding_of_a_condition_is_the_mean_over_control_cells_with_its_targets(fitted, posed, tiny, run_fit):
    # By another way: the pool, the pasting, and each sentence of the random numbers of the condition.
    label = "KLF1"
    rng = np.random.RandomState([1, *label.encode()])
    rows = np.random.RandomState(1).choice(posed.controls.n_obs, 20)
    cells = recover_counts(sparse.csr_matrix(posed.controls.X[rows])).toarray()
    own = posed.train[posed.train.obs["perturbation"] == label]
    cells[:, GENES.index(label)] = own.X.toarray()[rng.choice(own.n_obs, 20), GENES.index(label)]
    vector, _ = embed_cells(fitted.embedder, fitted.genes, fitted.settings, sparse.csr_matrix(cells), rng)
    np.testing.assert_allclose(fitted.conditions.embeddings[label], vector, atol=1e-7)
    assert 0 < np.linalg.norm(vector) < 1


def test_the_decoder_is_fitted_on_training_conditions_with_the_control(fitted, posed, held_out, run_predict):
    conditions = fitted.conditions
    assert set(conditions.labels) == set(conditions.embeddings) == set(posed.train.obs["perturbation"])
    ridge = fit_ridge(np.array([conditions.embeddings[label] for label in conditions.labels]), conditions.means)
    query = posed.queries[0]
    rng = np.random.RandomState([1, *query.encode()])
    pool = draw_controls(sparse.csr_matrix(posed.controls.X), fitted.settings, 1)
    made = paste(pool, observe_query(held_out, query, fitted.genes), "log", rng)
    vector, _ = embed_cells(fitted.embedder, fitted.genes, fitted.settings, made, rng)
    prediction = means_of(run_predict(fitted, posed, held_out))
    np.testing.assert_allclose(prediction[query], ridge.predict(vector[None])[0], atol=1e-6)


def test_values_of_held_out_cells_change_the_answer_and_nothing_else_of_them_does(fitted, posed, held_out, run_predict):
    before = run_predict(fitted, posed, held_out)
    changed = held_out.copy()
    changed.X = changed.X * 0.1
    assert largest(before, run_predict(fitted, posed, changed)) > 1e-6
    other = held_out.copy()
    other.obs["total"] = 1.0
    other.obs["detected"] = 1
    assert largest(before, run_predict(fitted, posed, other)) == 0


def test_without_observed_values_there_is_no_answer(fitted, posed, run_predict):
    with pytest.raises(Skip, match="is given observed values of the perturbed genes"):
        run_predict(fitted, posed, None)


@pytest.mark.parametrize(
    "quirk",
    [
        {"mask_mode": "masked"}, {"count_rounding": "round"}, {"pasted_values": "counts"}, {"filtering": "off"},
        {"control_draws": "distinct"},
    ],
    ids=lambda quirk: next(iter(quirk)),
)  # fmt: skip
def test_each_quirk_changes_the_answer(fitted, posed, held_out, tiny, run_fit, run_predict, quirk):
    # With a gene that few cells express, so that there is something to filter.
    def rare(adata):
        adata = adata.copy()
        values = adata.X.tolil()
        values[2:, GENES.index("PFN1")] = 0
        adata.X = sparse.csr_matrix(values)
        return adata

    posed.train.X = rare(posed.train).X
    posed.controls.X = rare(posed.controls).X
    # Of eight genes some cells have none on a chromosome, so that their sentences are padded.
    few = {**tiny, "sample_size": 8}
    paper, other = (run_predict(run_fit(posed.train, {**few, **more}), posed, held_out) for more in ({}, quirk))
    assert largest(paper, other) > 1e-6


@pytest.mark.parametrize("kind", ["random", "permuted"])
def test_a_control_takes_the_place_of_the_embedding(fitted, posed, held_out, tiny, run_fit, run_predict, kind):
    own = run_predict(fitted, posed, held_out)
    control = run_predict(run_fit(posed.train, {**tiny, "embedding": kind}), posed, held_out)
    assert largest(own, control) > 1e-6
    assert control.uns["notes"][-1].endswith("as a control")


def test_the_answer_depends_on_the_seed_and_not_on_other_queries(fitted, posed, held_out, tiny, run_fit, run_predict):
    first = run_predict(fitted, posed, held_out)
    assert largest(first, run_predict(run_fit(posed.train, tiny), posed, held_out)) == 0
    other = run_predict(run_fit(posed.train, tiny, seed=2), posed, held_out, seed=2)
    assert largest(first, other) > 1e-6
    alone = run_predict(fitted, posed, held_out, queries=posed.queries[1:])
    np.testing.assert_allclose(means_of(alone)[posed.queries[1]], means_of(first)[posed.queries[1]], atol=1e-12)


@pytest.mark.parametrize("own", [True, False], ids=["own files", "files of the card"])
def test_a_saved_model_predicts_the_same(posed, held_out, tiny, run_fit, run_predict, tmp_path, monkeypatch, own):
    files, params = {}, dict(tiny)
    if not own:  # the published sizes, as far as the check of the card's files goes
        import pertharness_uce.weights as weights
        from pertharness_uce.tiny import TINY

        monkeypatch.setattr(weights, "published_sizes", lambda name: TINY)
        monkeypatch.setattr(weights, "N_CHROMOSOMES", 7)
        paths = [params.pop(name) for name in ("checkpoint", "symbols", "chromosomes", "offsets")]
        files = {file.wanted: path for file, path in zip(weights.declared("uce"), map(Path, paths), strict=True)}
    model = fit(name="uce", train=posed.train, files=files, params=params, device="cpu", seed=1)
    before = run_predict(model, posed, held_out)
    save_model(model=model, folder=tmp_path)
    again = load_model(name="uce", folder=tmp_path, files=files, device="cpu")
    assert largest(before, run_predict(again, posed, held_out)) < 1e-6
    assert list(run_predict(again, posed, held_out).uns["notes"]) == list(before.uns["notes"])
    assert ((tmp_path / "model.safetensors").stat().st_size > 100_000) == own


def test_only_rows_that_are_needed_are_read_of_the_table(posed, tiny, run_fit, monkeypatch):
    import pertharness_uce.weights as weights

    asked = []
    rows = weights.Published.rows
    monkeypatch.setattr(weights.Published, "rows", lambda self, tokens: asked.append(tokens) or rows(self, tokens))
    fitted = run_fit(posed.train[:, :10].copy(), {**tiny, "min_genes": 2})
    # Ten genes, four chromosomes, padding, cell and the end of a chromosome.
    assert [len(tokens) for tokens in asked] == [17]
    assert not fitted.embedder.network.pos_encoder.pe.requires_grad


def test_targets_that_are_not_measured_or_not_known(posed, tiny, run_fit, run_predict):
    posed.train.var_names = [f"NEW{gene}" if gene == "KLF1" else gene for gene in posed.train.var_names]
    posed.controls.var_names = posed.train.var_names
    cells = planted_cells()
    cells.var_names = posed.train.var_names
    queries = ["KLF1", "NEWKLF1", "GATA1+SPI1"]
    held_out = oracle(cells, {"NEWKLF1": ("NEWKLF1",), "GATA1+SPI1": ("GATA1", "SPI1")})
    for procedure, answered in (("paper", {"NEWKLF1", "GATA1+SPI1"}), ("corrected", {"GATA1+SPI1"})):
        fitted = run_fit(posed.train, {**tiny, "procedure": procedure})
        assert not [label for label in fitted.conditions.embeddings if "KLF1" in label]
        prediction = run_predict(fitted, posed, held_out, queries=queries)
        assert set(means_of(prediction)) == answered
        assert "KLF1 is not among the genes of the data" in prediction.uns["unanswered"]["KLF1"]
        if procedure == "corrected":
            assert "NEWKLF1 has no protein embedding" in prediction.uns["unanswered"]["NEWKLF1"]
    notes = "\n".join(prediction.uns["notes"])
    assert "39 of 40 are in the model's vocabulary" in notes
    assert "training perturbations have no embedding (first: 'CEBPE+KLF1': KLF1 is not among the genes of the" in notes
    posed.train.var_names = posed.train.var_names.str.lower()
    with pytest.raises(Skip, match=r"at least one training perturbation .*: 11 training .* is not among the genes"):
        run_fit(posed.train, tiny)


def test_a_training_target_that_no_cell_expresses_is_in_the_record(posed, tiny, run_fit):
    values = posed.train.X.tolil()
    values[:, GENES.index("KLF1")] = 0
    posed.train.X = sparse.csr_matrix(values)
    notes = run_fit(posed.train, tiny).notes
    assert "targets that no training cell of their condition expresses, pasted as 0: KLF1" in notes


def oracle(cells, targets):
    """Return observed values of some genes in ten cells for each query."""
    genes = sorted({gene for of_query in targets.values() for gene in of_query})
    labels = np.repeat(list(targets), 10)
    x = np.zeros((len(labels), len(genes)), dtype=np.float32)
    for row, label in enumerate(labels):
        for gene in targets[label]:
            x[row, genes.index(gene)] = cells[row, gene].X.toarray()[0, 0]
    index = [str(row) for row in range(len(labels))]
    obs = pd.DataFrame({"perturbation": labels, "smallest": np.float32(0.5)}, index=index)
    return AnnData(X=sparse.csr_matrix(x), obs=obs, var=pd.DataFrame(index=genes))


def test_a_target_that_no_cell_expresses_and_queries_without_cells(fitted, posed, held_out, run_predict):
    silent = held_out.copy()
    silent.X = sparse.csr_matrix(silent.X.shape, dtype=np.float32)
    prediction = run_predict(fitted, posed, silent)
    assert np.isfinite(prediction.X).all()
    line = "targets that no held-out cell of their condition expresses, pasted as 0: FOS, GATA1, KLF1, MYC"
    assert line in list(prediction.uns["notes"])
    assert not any("pasted as 0" in note for note in run_predict(fitted, posed, held_out).uns["notes"])
    first = posed.queries[0]
    rest = run_predict(fitted, posed, held_out[held_out.obs["perturbation"] != first].copy())
    assert list(rest.obs["perturbation"]) == posed.queries[1:]
    assert rest.uns["unanswered"][first] == "no held-out cell of it has observed values"
    empty = held_out.copy()
    empty.obs.loc[(empty.obs["perturbation"] == first).to_numpy(), "smallest"] = np.nan
    assert list(run_predict(fitted, posed, empty).obs["perturbation"]) == posed.queries[1:]


def test_cells_with_fewer_genes_than_the_minimum(posed, held_out, tiny, run_fit, run_predict):
    with pytest.raises(
        Skip, match=r"none of its cells is usable \(of 240 made, 240 have fewer than 50 .* filtering=off"
    ):
        run_fit(posed.train, {**tiny, "min_genes": 50})
    poor = posed.train.copy()
    values = poor.X.tolil()
    values[::2, 10:] = 0
    poor.X = sparse.csr_matrix(values)
    posed.controls.X = select(poor, ["control"]).X
    fitted = run_fit(poor, tiny)
    notes = "\n".join(run_predict(fitted, posed, held_out).uns["notes"])
    assert "training cells: of 240 made, " in notes
    assert " have fewer than 25 expressed genes, and are left out" in notes
    assert "query cells: of 40 made, " in notes


def test_few_genes(posed, held_out, tiny, run_fit, run_predict):
    few = [*GENES[:8], *GENES[-4:]]
    posed = replace(posed, train=posed.train[:, few].copy(), controls=posed.controls[:, few].copy())
    with pytest.raises(Skip, match="it needs data of more genes, or the parameter filtering=off"):
        run_fit(posed.train, tiny)
    fitted = run_fit(posed.train, {**tiny, "procedure": "corrected"})
    assert run_predict(fitted, posed, held_out).X.shape == (2, 12)


def test_empty_cells(posed, held_out, tiny, run_fit, run_predict):
    values = posed.train.X.tolil()
    values[:5] = 0
    posed.train.X = sparse.csr_matrix(values)
    fitted = run_fit(posed.train, tiny)
    assert "5 of 172 training cells are empty and are left out" in fitted.notes
    values = posed.train.X.tolil()
    values[(posed.train.obs["perturbation"] == "control").to_numpy()] = 0
    posed.train.X = sparse.csr_matrix(values)
    with pytest.raises(Skip, match="all of them are empty"):
        run_fit(posed.train, tiny)


def test_other_genes_and_raw_counts_are_errors(fitted, posed, held_out, tiny, run_fit, run_predict):
    posed.controls.var_names = [gene.lower() for gene in posed.controls.var_names]
    with pytest.raises(DataError, match="are not those that the model was fitted on"):
        run_predict(fitted, posed, held_out)
    posed.train.X = posed.train.X * 100
    with pytest.raises(DataError, match="are these raw counts"):
        run_fit(posed.train, tiny)


def test_letter_case_does_not_count_and_clashes_are_noted(posed, tiny, run_fit):
    names = [str(name) for name in posed.train.var_names]
    names[0] = "actb"
    posed.train.var_names = names
    fitted = run_fit(posed.train, tiny)
    notes = "\n".join(fitted.notes)
    assert "genes: 40 of 40 are in the model's vocabulary" in notes
    assert "genes: 1 differ from another one in letter case alone, such as 'ACTB', and share its token" in notes
    tokens = dict(zip(fitted.genes.names, fitted.genes.places.tokens, strict=True))
    assert tokens["actb"] == tokens["ACTB"]


def test_data_with_ensembl_ids_need_a_table(posed, tiny, run_fit, tmp_path):
    ids = [f"ENSG{number:011d}" for number in range(40)]
    table = tmp_path / "hgnc.txt"
    rows = [f"{gene}\t\t\t{stem}" for gene, stem in zip(GENES, ids, strict=True)]
    table.write_text("\n".join(["symbol\talias_symbol\tprev_symbol\tensembl_gene_id", *rows]) + "\n")
    posed.train.var_names = ids
    id_of = dict(zip(GENES, ids, strict=True))
    labels = posed.train.obs["perturbation"].astype(str)
    posed.train.obs["perturbation"] = [
        "+".join(sorted(id_of.get(name, name) for name in label.split("+"))) for label in labels
    ]
    del posed.train.var["ensembl_id"]
    with pytest.raises(DataError, match="the data have Ensembl ids, and the model knows symbols"):
        run_fit(posed.train, tiny)
    assert "40 by Ensembl id" in run_fit(posed.train, {**tiny, "gene_table": str(table)}).notes[1]


def test_the_embedding_has_the_rows_of_the_table(tiny):
    files = {name: tiny[name] for name in ("checkpoint", "symbols", "chromosomes", "offsets")}
    table = torch.load(tiny["checkpoint"], weights_only=True)["pe_embedding.weight"]
    frame = embed(name="uce", labels=["GATA1", "ZNF9999", "klf1", "GATA1"], files={}, params=files)
    assert list(frame.index) == ["GATA1", "klf1"]
    np.testing.assert_array_equal(frame.to_numpy(), table[[7 + 2, 7]].double().numpy())
    with pytest.raises(Skip, match=r"none of the 1 genes .* is among the 40 human symbols of UCE"):
        embed(name="uce", labels=["ZNF9999"], files={}, params=files)


def test_cells_of_one_gene_are_no_reason_to_stop(fitted):
    counts = sparse.csr_matrix(([3.0, 2.0], ([0, 1], [4, 4])), shape=(2, 40))
    sampling = fitted.settings.sampling.model_copy(update={"min_cells": 0, "min_genes": 0})
    settings = fitted.settings.model_copy(update={"sampling": sampling})
    vector, left = embed_cells(fitted.embedder, fitted.genes, settings, counts, np.random.RandomState(0))
    assert np.isfinite(vector).all()
    assert left.note(0) == ""
