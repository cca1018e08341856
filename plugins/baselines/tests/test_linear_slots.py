"""The linear model with each embedding beside R's output, and beside independent solutions on small data."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pertharness_baselines as plugin
import pytest
from anndata import AnnData
from pertharness import CONTROL, DataError, Skip, control_mean
from pertharness.testing import call_embed, call_fit, call_predict
from pertharness_baselines.embeddings.graph import diagonal, read_graph, undirected
from pertharness_baselines.linear import LinearModel, predict_linear
from pertharness_baselines.slots import Side

REFERENCE = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared")) / "reference"
KINDS = {"G": "gene", "P": "perturbation"}


def _means(x, labels, genes):
    obs = pd.DataFrame({"perturbation": list(labels)}, index=[str(i) for i in range(len(labels))])
    return AnnData(X=np.array(x, dtype=float), obs=obs, var=pd.DataFrame(index=list(genes)))


def _embed(name, slot, train, targets, source=None, references=None, seed=1, **params):
    labels = list(train.var_names) if slot == "G" else [CONTROL, *sorted(targets)]
    given = {"source": source, "references": references, "params": params, "seed": seed}
    return call_embed(plugin, train, labels, name=name, kind=KINDS[slot], **given)


def _predict(train, embeddings, queries, **params):
    model = call_fit(plugin, train, name="linear", embeddings=embeddings, params=params)
    return call_predict(plugin, model, train[train.obs["perturbation"] == CONTROL], queries, name="linear")


def _frame(prediction):
    return prediction.to_df().set_index(pd.Index(prediction.obs["perturbation"]))


# R's output.


def _canonical(condition):
    targets = sorted(part for part in str(condition).split("+") if part != "ctrl")
    return "+".join(targets) if targets else CONTROL


class Reference:
    """Inputs and outputs of the authors' scripts, and the embeddings that they used, written to files."""

    def __init__(self, folder: Path) -> None:
        with np.load(REFERENCE / "linear_inputs.npz") as inputs, np.load(REFERENCE / "linear_refs.npz") as outputs:
            self.inputs, self.outputs = dict(inputs), dict(outputs)
        self.facts = json.loads((REFERENCE / "linear_refs.json").read_text())
        x, labels = self.inputs["X"], [_canonical(condition) for condition in self.inputs["conditions"]]
        kept = [
            part == "train" or label == CONTROL for part, label in zip(self.inputs["training"], labels, strict=True)
        ]
        self.labels, self.targets = labels, [label for label in labels if label != CONTROL]
        self.train = _means(
            x[kept], [label for label, keep in zip(labels, kept, strict=True) if keep], self.inputs["genes"]
        )
        other = [_canonical(condition) for condition in self.inputs["ref_conditions"]]
        other_genes = [f"g{i}" for i in range(self.inputs["ref_X"].shape[1])]
        self.other = {"other": _means(self.inputs["ref_X"], other, other_genes)}
        self.folder = folder
        pd.DataFrame(self.inputs["gene_emb"], index=self.inputs["gene_emb_genes"]).to_csv(folder / "genes.csv")
        perturbations = pd.DataFrame(self.inputs["pert_emb"], columns=self.inputs["pert_emb_perts"])
        perturbations.to_csv(folder / "perturbations.tsv", sep="\t", index=False)
        for graph in ("sym", "asym"):
            columns = {name: self.inputs[f"graph_{graph}_{name}"] for name in ("source", "target", "weight")}
            pd.DataFrame(columns).to_csv(folder / f"{graph}.csv", index=False)

    def runs(self):
        return [run for run in self.facts if f"{run}.pred" in self.outputs and "__P_" in run]

    def embeddings(self, run):
        """Fill the slots as a run's name says, ``G_x__P_y``."""
        made = dict(zip("GP", (part[2:] for part in run.split("__")), strict=True))
        files = {"G": "genes.csv", "P": "perturbations.tsv"}
        ways = {
            "identity": ("identity", None), "zero": ("zero", None), "transferPCA": ("transfer", None),
            "spectral_sym": ("spectral", "sym.csv"), "spectral_asym": ("spectral", "asym.csv"),
        }  # fmt: skip
        return {
            slot: self.embed(*(ways | {"external": ("table", files[slot])})[word], slot)
            for slot, word in made.items() if not word.startswith("train")
        }  # fmt: skip

    def embed(self, name, file, slot, **params):
        references = self.other if name == "transfer" else {}
        source = self.folder / file if file else None
        return _embed(name, slot, self.train, self.targets, source, references, **params)

    def compare(self, run, embeddings, tolerance, array="pred", **params):
        """Hold predictions against a run's, and what is unanswered or missing against what it lacks."""
        genes = [str(gene) for gene in self.outputs[f"{run}.pred_genes"]]
        expected = pd.DataFrame(self.outputs[f"{run}.{array}"].T, index=self.labels, columns=genes)
        prediction = _predict(self.train, embeddings, self.targets, **params)
        found = _frame(prediction)
        np.testing.assert_allclose(found[genes], expected.loc[found.index], rtol=0, atol=tolerance)
        assert len(found)
        assert expected.loc[list(prediction.uns["unanswered"])].isna().all(axis=None)
        assert set(prediction.uns.get("missing_genes", {})) == set(self.train.var_names) - set(genes)
        assert found.drop(columns=genes).isna().all(axis=None)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    if not (REFERENCE / "linear_refs.npz").exists():
        pytest.skip(f"no linear_refs.npz in {REFERENCE}; name the folder above it in PERTHARNESS_SHARED")
    return Reference(tmp_path_factory.mktemp("embeddings"))


@pytest.mark.reference
def test_each_filling_of_the_slots_equals_r(reference):
    assert len(reference.runs()) > 1
    for run in reference.runs():
        facts = reference.facts[run]
        tolerance = 1e-5 if "transfer" in run else 1e-6  # there irlba stops at 1e-5
        params = {"k": facts["pca_dim"], "ridge": facts["ridge"]}
        reference.compare(run, reference.embeddings(run), tolerance, **params)
        model = call_fit(plugin, reference.train, name="linear", embeddings=reference.embeddings(run), params=params)
        y0 = control_mean(reference.train)[model.covered]
        centre = pd.Series(model.offset - y0, index=reference.train.var_names[model.covered])
        genes = [str(gene) for gene in reference.outputs[f"{run}.pred_genes"]]
        np.testing.assert_allclose(centre[genes], reference.outputs[f"{run}.center"], rtol=0, atol=1e-9)


@pytest.mark.reference
def test_the_regression_variant_equals_r(reference):
    runs = [run for run in reference.facts if run.startswith("lemur_transfer_k") and f"{run}.pred" in reference.outputs]
    assert runs
    shared = len({*reference.train.obs["perturbation"]} & {*reference.other["other"].obs["perturbation"]})
    for run in runs:
        k = int(run.rpartition("k")[2])
        embedding = reference.embed("transfer", None, "P", k=k)
        tolerance = 1e-5
        if k + 1 >= shared:
            # More unknowns than equations: the small penalty alone decides, and the prediction follows the last digits
            # of the embedding. How far, for what irlba may leave of those (its tolerance is 1e-5), is measured.
            noise = np.random.default_rng(0).normal(size=embedding.shape)
            given = {"k": k, "variant": "regression"}
            moved = [
                _predict(reference.train, {"P": embedding + e * noise}, reference.targets, **given).X for e in (0, 1e-8)
            ]
            tolerance = 5e-5 * np.abs(moved[1] - moved[0]).max() / 1e-8
            assert tolerance < 1e-2
        reference.compare(run, {"P": embedding}, tolerance, k=k, variant="regression")


@pytest.mark.reference
def test_predictions_with_exact_components_equal_r(reference):
    runs = [name.removesuffix(".pred_exactsvd") for name in reference.outputs if name.endswith(".pred_exactsvd")]
    assert runs
    for run in runs:
        facts, embeddings = reference.facts[run], reference.embeddings(run)
        reference.compare(run, embeddings, 1e-9, "pred_exactsvd", k=facts["pca_dim"], ridge=facts["ridge"])


def _flips(ours, theirs):
    """Return the signs s and t, up to one of both, for which diag(s) `ours` diag(t) is nearest to `theirs`.

    The product by entries of W and diag(s) W diag(t) has the signs s t', and so have its first singular vectors
    (Perron, Frobenius). Roots keep small weights in sight.
    """
    product = ours * theirs
    left, _, right = np.linalg.svd(np.sign(product) * np.sqrt(np.abs(product)))
    return np.sign(left[:, 0]), np.sign(right[0])


@pytest.mark.reference
def test_weights_equal_r_up_to_the_signs_of_components(reference):
    runs = [name.removesuffix(".K_irlba") for name in reference.outputs if name.endswith(".K_irlba")]
    assert runs
    for run in runs:
        facts, expected = reference.facts[run], reference.outputs[f"{run}.K_irlba"]
        params = {"k": facts["pca_dim"], "ridge": facts["ridge"]}
        embeddings = reference.embeddings(run)
        if run.endswith("transferPCA"):
            # R's own components, which irlba leaves further from the exact ones than weights could stand.
            names = [_canonical(name) for name in reference.outputs["transferP_names"]]
            embeddings["P"] = pd.DataFrame(reference.outputs["transferP_irlba"].T, index=names)
        ours = call_fit(plugin, reference.train, name="linear", embeddings=embeddings, params=params).weights
        assert ours.shape == expected.shape
        s, t = _flips(ours, expected)
        np.testing.assert_allclose(ours * s[:, None] * t, expected, rtol=1e-5, atol=1e-5, err_msg=run)
        for signs, part in zip((s, t), run.split("__"), strict=True):
            if part[2:] in ("external", "transferPCA"):  # both sides have the same numbers there, and so the same signs
                assert len(set(signs)) == 1


# irlba stops at 1e-5 of the largest singular value, which is the length of the first component's scores.
PRCOMP = {"exact": lambda scores: 1e-9, "irlba": lambda scores: 1e-5 * max(1.0, np.linalg.norm(scores[:, 0]))}


def _up_to_signs(found, expected, tolerance):
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, rtol=0, atol=tolerance)


@pytest.mark.reference
@pytest.mark.parametrize("way", PRCOMP)
def test_components_of_the_training_data_equal_prcomp(reference, way):
    expected = reference.outputs[f"pca_G_{way}"]
    found = _embed("pca", "G", reference.train, [], k=expected.shape[1]).to_numpy()
    _up_to_signs(found, expected, PRCOMP[way](found))


@pytest.mark.reference
def test_standard_deviations_of_components_equal_prcomp(reference):
    expected = reference.outputs["pca_sdev_exact"]
    scores = _embed("pca", "G", reference.train, [], k=len(expected)).to_numpy()
    np.testing.assert_allclose(scores.std(axis=0, ddof=1), expected, rtol=0, atol=1e-9)


@pytest.mark.reference
@pytest.mark.parametrize("way", PRCOMP)
def test_components_of_another_screen_equal_prcomp(reference, way):
    names = [_canonical(name) for name in reference.outputs["transferP_names"]]
    expected = pd.DataFrame(reference.outputs[f"transferP_{way}"].T, index=names)
    found = _embed("transfer", "P", reference.train, set(names) - {CONTROL}, None, reference.other, k=expected.shape[1])
    assert set(found.index) == set(names)
    _up_to_signs(found.to_numpy(), expected.loc[found.index].to_numpy(), PRCOMP[way](found.to_numpy()))


@pytest.mark.reference
@pytest.mark.parametrize("graph", ["sym", "asym"])
def test_the_spectral_embedding_equals_igraph(reference, graph):
    expected = pd.DataFrame(
        reference.outputs[f"spectral_{graph}.X"], index=reference.outputs[f"spectral_{graph}.genes"]
    )
    source = reference.folder / f"{graph}.csv"
    found = _embed("spectral", "P", reference.train, set(expected.index), source, k=expected.shape[1])
    assert set(found.index) == set(expected.index[reference.outputs[f"spectral_{graph}.cvec"] > 0])
    _up_to_signs(found.to_numpy(), expected.loc[found.index].to_numpy(), 1e-9)


@pytest.mark.reference
@pytest.mark.parametrize("graph", ["sym", "asym"])
def test_the_matrix_that_is_decomposed_and_its_eigenvalues_equal_igraph(reference, graph):
    names = ("genes", "adjacency", "cvec", "D", "X")
    genes, adjacency, cvec, values, x = (reference.outputs[f"spectral_{graph}.{name}"] for name in names)
    edges = read_graph(reference.folder / f"{graph}.csv")
    order = [edges.genes.index(gene) for gene in genes]
    assert sorted(order) == list(range(len(edges.genes)))
    ours = undirected(edges).tocsr()[order][:, order]
    np.testing.assert_allclose(ours.toarray(), adjacency, rtol=0, atol=1e-12)
    np.testing.assert_allclose(diagonal(ours), cvec, rtol=0, atol=1e-9)
    # Scaled eigenvectors: their squared lengths are the magnitudes of the eigenvalues, and M x = D x has the signs.
    source, k = reference.folder / f"{graph}.csv", len(values)
    scaled = _embed("spectral", "P", reference.train, set(genes), source, k=k).reindex(list(genes)).fillna(0).to_numpy()
    np.testing.assert_allclose((scaled**2).sum(axis=0), np.abs(values), rtol=0, atol=1e-9)
    decomposed = ours.toarray() + np.diag(diagonal(ours))
    np.testing.assert_allclose(decomposed @ scaled, scaled * values, rtol=0, atol=1e-9 * max(1, np.abs(values).max()))
    assert x.shape == scaled.shape


# Small data.


def _screen(seed=0, n_genes=30, n_targets=12):
    """Singles of the first genes, two targets that are not read out, a double, the control in the middle."""
    rng = np.random.default_rng(seed)
    genes = [f"g{i:02d}" for i in range(n_genes)]
    labels = [*genes[:6], CONTROL, *genes[6:n_targets], "X1", "X2", "g00+g01"]
    x = rng.gamma(1.0, 1.0, n_genes) + rng.normal(0, 0.3, (len(labels), n_genes))
    return _means(x, labels, genes)


def _table(rng, labels, k):
    return pd.DataFrame(rng.normal(size=(len(labels), k)), index=pd.Index(labels, name="label"))


def _kronecker(train, G, P, query, ridge):
    """Solve for vec(W) in one system: (P'P + r I) x (G'G + r I) vec(W) = vec(G' Y P), genes and columns by name."""
    frame = pd.DataFrame(train.X, index=list(train.obs["perturbation"]), columns=list(train.var_names))
    genes = [gene for gene in frame.columns if gene in G.index]
    columns = [label for label in frame.index if label in P.index or label == CONTROL]
    g = G.loc[genes].to_numpy()
    p = np.array([P.loc[label] if label in P.index else np.zeros(P.shape[1]) for label in columns])
    y0 = frame.loc[CONTROL, genes].to_numpy()
    change = (frame.loc[columns, genes].to_numpy() - y0).T
    b = change.mean(axis=1)
    system = np.kron(p.T @ p + ridge * np.eye(p.shape[1]), g.T @ g + ridge * np.eye(g.shape[1]))
    right = (g.T @ (change - b[:, None]) @ p).flatten(order="F")
    w = np.linalg.solve(system, right).reshape((g.shape[1], p.shape[1]), order="F")
    return pd.Series(g @ w @ P.loc[query].to_numpy() + b + y0, index=genes)


@pytest.mark.parametrize("with_control", [False, True])
def test_both_slots_equal_one_kronecker_system(with_control):
    train, rng = _screen(), np.random.default_rng(1)
    G = _table(rng, ["elsewhere", *train.var_names[3:]], 4)
    P = _table(rng, ["g01", "g05", "X1", "g20", "unseen", *([CONTROL] if with_control else [])], 3)
    prediction = _predict(train, {"G": G, "P": P}, ["g20", "unseen", "g02"], ridge=0.3)
    for query in ("g20", "unseen"):
        expected = _kronecker(train, G, P, query, 0.3)
        np.testing.assert_allclose(_frame(prediction).loc[query, expected.index], expected, rtol=0, atol=1e-9)
    assert prediction.uns["unanswered"] == {"g02": "the target g02 has no row in the embedding P"}


def test_genes_without_a_row_are_nan_and_named():
    train = _screen()
    G = _table(np.random.default_rng(1), list(train.var_names[3:]), 4)
    prediction = _predict(train, {"G": G}, ["g20", "g21"])
    assert np.isnan(prediction.X).any(axis=0).tolist() == [True] * 3 + [False] * 27
    assert prediction.uns["missing_genes"] == dict.fromkeys(["g00", "g01", "g02"], "it has no row in the embedding G")


def test_components_in_the_slots_are_the_model_without_slots():
    train = _screen()
    slots = {slot: _embed("pca", slot, train, train.var_names, k=5) for slot in "GP"}
    bare, filled = _predict(train, {}, ["g20"], k=5), _predict(train, slots, ["g20"])
    np.testing.assert_allclose(filled.X, bare.X, rtol=0, atol=1e-12)


def test_an_identity_is_as_good_sparse_as_dense():
    train, rng = _screen(), np.random.default_rng(2)
    targets = {"g00", "g04", "g20", "X1"}
    for slots in ("G", "P", "GP"):
        sparse = {slot: _embed("identity", slot, train, targets) for slot in slots}
        # A rotation of it is the same model, and not sparse.
        turned = {}
        for slot, table in sparse.items():
            turn = np.linalg.qr(rng.normal(size=(table.shape[1],) * 2))[0]
            turned[slot] = pd.DataFrame(table.to_numpy() @ turn, index=table.index)
        one, other = _predict(train, sparse, ["g20", "g00"]), _predict(train, turned, ["g20", "g00"])
        np.testing.assert_allclose(one.X, other.X, rtol=0, atol=1e-9)


def test_an_identity_of_perturbations_knows_nothing_of_an_unseen_one():
    train = _screen()
    prediction = _predict(train, {"P": _embed("identity", "P", train, ["g00", "g20", "X1"])}, ["g20"])
    columns = train[[label in {"g00", "X1", CONTROL} for label in train.obs["perturbation"]]]
    np.testing.assert_allclose(prediction.X[0], columns.X.mean(axis=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("slot", ["G", "P"])
def test_zeros_predict_the_centre(slot):
    train = _screen()
    train = train[[label in {*train.var_names, CONTROL} for label in train.obs["perturbation"]]].copy()
    embedding = _embed("zero", slot, train, train.var_names)
    centre = call_fit(plugin, train, name="mean", params={"ctrl_included": True})
    np.testing.assert_allclose(_predict(train, {slot: embedding}, ["g20"]).X[0], centre, rtol=0, atol=1e-12)


def test_the_regression_is_least_squares_with_the_penalty_as_rows():
    train, rng = _screen(), np.random.default_rng(3)
    P = _table(rng, ["g01", "g05", "X1", "X2", "g20"], 2)
    prediction = _predict(train, {"P": P}, ["g20"], k=4, ridge=0.7, variant="regression")
    mean = train.X.mean(axis=0)
    axes = np.linalg.svd(train.X - mean)[2][:4]
    shared = ["g01", "g05", "X1", "X2"]
    rows = [list(train.obs["perturbation"]).index(label) for label in shared]
    scores = (train.X[rows] - mean) @ axes.T
    penalty = np.sqrt(len(shared)) * 0.7**2 * np.eye(3)[1:]
    design = np.vstack([np.column_stack([np.ones(4), P.loc[shared]]), penalty])
    coefficients = np.linalg.lstsq(design, np.vstack([scores, np.zeros((2, 4))]), rcond=None)[0]
    expected = np.array([1.0, *P.loc["g20"]]) @ coefficients @ axes + mean
    np.testing.assert_allclose(prediction.X[0], expected, rtol=0, atol=1e-9)


def test_the_regression_counts_the_control_only_where_it_has_a_row():
    train, rng = _screen(), np.random.default_rng(3)
    P = _table(rng, ["g01", "g05", "X1", "X2", "g20", CONTROL], 2)
    both = [_predict(train, {"P": table}, ["g20"], variant="regression").X for table in (P, P.drop(index=CONTROL))]
    assert np.abs(both[0] - both[1]).max() > 1e-3


def test_additive_is_the_linear_model_of_memberships():
    """W = I, G the training singles, P which of them a double is of, b = -y0: G W P' + b + y0 is additive's sum."""
    train = _screen(3)
    y0, labels = control_mean(train), list(train.obs["perturbation"])
    singles = [label for label in labels if label != CONTROL and "+" not in label]
    doubles = ["g02+g07", "X1+g03"]
    membership = np.array([[single in double.split("+") for single in singles] for double in doubles], dtype=float)
    model = LinearModel(
        gene=np.array([train.X[labels.index(single)] for single in singles]).T,
        covered=np.ones(train.n_vars, dtype=bool),
        perturbation=Side(membership, {double: row for row, double in enumerate(doubles)}),
        weights=np.eye(len(singles)),
        offset=-y0,
    )
    linear = predict_linear(model, list(train.var_names), doubles)
    controls = train[train.obs["perturbation"] == CONTROL]
    additive = call_predict(plugin, call_fit(plugin, train, name="additive"), controls, doubles, name="additive")
    np.testing.assert_allclose(linear.X, additive.X, rtol=0, atol=1e-12)


def test_what_there_is_nothing_to_learn_from_is_skipped_with_the_reason():
    train, rng = _screen(), np.random.default_rng(0)
    with pytest.raises(Skip, match="no training perturbation has an embedding; 'g00' has no row in the embedding P"):
        _predict(train, {"P": _table(rng, ["g20", CONTROL], 2)}, ["g20"])
    with pytest.raises(Skip, match="G has rows for 1 of 30 genes"):
        _predict(train, {"G": _table(rng, ["g20"], 2)}, ["g20"])
    with pytest.raises(Skip, match=r"no embedding in the slot P, .*P=transfer:DATASET, variant=regression"):
        _predict(train, {}, ["g20"], variant="regression")
    with pytest.raises(Skip, match="no perturbation but the control"):
        _predict(train[6:7].copy(), {}, ["g20"])


@pytest.mark.parametrize(
    ("params", "slots", "message"),
    [({"variant": "lemur"}, "", "expected 'bilinear' or 'regression'"), ({"variant": "regression"}, "G", "no slot G")],
)
def test_a_variant_that_is_none_is_refused(params, slots, message):
    train = _screen()
    embeddings = {slot: _embed("zero", slot, train, ["g00"]) for slot in slots}
    with pytest.raises(DataError, match=message):
        _predict(train, embeddings, ["g20"], **params)
