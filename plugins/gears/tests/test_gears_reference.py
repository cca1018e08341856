"""GEARS through the hooks beside a plain script's run of cell-gears, and the GO graph beside its ``make_GO``."""

import importlib
import json
import os
import re
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from pertharness import join_targets
from pertharness_gears import EMBEDDING, MODEL, embed, fit, predict
from pertharness_gears.embedding import embed_edges
from pertharness_gears.graph import make_edges, strongest
from pertharness_gears.settings import Network

SHARED = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared"))
FIXTURE, TABLES = SHARED / "fixtures" / "gears", SHARED / "reference"
pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not FIXTURE.is_dir() or not TABLES.is_dir(), reason=f"no reference data in {SHARED}"),
]
# The tolerance that the reference states; on other processors the correlation of changes has to be 0.99.
TOLERANCE, CORRELATION = 1e-4, 0.99


def _canonical(condition):
    return join_targets(name for name in condition.split("+") if name != "ctrl")


@pytest.fixture(scope="module")
def screen():
    """Train and val as the harness gives them, from the cells and the split of the reference."""
    cells = anndata.read_h5ad(FIXTURE / "train.h5ad")
    split = json.loads((FIXTURE / "split.json").read_text())
    conditions = cells.obs["condition"].astype(str)
    obs = pd.DataFrame({"perturbation": pd.Categorical(conditions.map(_canonical))}, index=cells.obs_names)
    var = pd.DataFrame(index=cells.var["gene_name"].astype(str).to_numpy())
    adata = anndata.AnnData(X=cells.X, obs=obs, var=var)
    train, val = (adata[conditions.isin(split[part]).to_numpy()].copy() for part in ("train", "val"))
    return train, val, np.load(FIXTURE / "expected.npz")


@pytest.fixture
def params():
    return {
        **MODEL.params, "gene2go": str(FIXTURE / "gene2go.json"), "graph": str(FIXTURE / "go_essential_all.csv"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def seed(screen, gears):
    """The seed of the reference: of those that its README names, the one that gives its initial weights."""
    torch = pytest.importorskip("torch", reason="needs the plugin's environment")
    model = importlib.import_module("gears.model")
    expected = screen[2]
    none = {name: torch.zeros(0) for name in ("G_coexpress", "G_coexpress_weight", "G_go", "G_go_weight")}
    n_perts = len(json.loads((FIXTURE / "gene2go.json").read_text()))
    sizes = {
        "num_genes": len(expected["genes"]), "num_perts": n_perts, "device": "cpu", "no_perturb": False,
        "decoder_hidden_size": 16, "uncertainty": False, **Network().model_dump(),
    }  # fmt: skip
    line = next(line for line in (FIXTURE / "README.md").read_text().splitlines() if "Seed s:" in line)
    for seed in map(int, re.findall(r"\d+", line.split("Seed s:")[1].split(".")[0])):
        torch.manual_seed(seed)
        total = sum(float(p.detach().double().abs().sum()) for p in model.GEARS_Model({**sizes, **none}).parameters())
        if total == pytest.approx(float(expected["init_abs_sum"]), rel=1e-9):
            return seed
    raise AssertionError("no seed of the README gives the initial weights of the reference")


@pytest.mark.parametrize("prediction", ["pred_ep2", "pred_ep12"])
def test_the_hooks_equal_a_plain_script(screen, params, prediction, seed, tmp_path, record_property):
    torch = pytest.importorskip("torch", reason="needs the plugin's environment")
    torch.set_num_threads(1)
    train, val, expected = screen
    epochs = int(prediction.removeprefix("pred_ep"))
    model = fit(train=train, val=val, files={}, params={**params, "epochs": epochs}, device="cpu", seed=seed,
                workdir=tmp_path)  # fmt: skip
    gears = model.gears
    edges = [gears.config["G_coexpress"].shape[1], gears.config["G_go"].shape[1]]
    assert edges == list(expected["n_edges"])
    assert len(gears.dataloader["train_loader"]) == expected["n_steps_per_epoch"]
    queries = [_canonical(condition) for condition in expected["conditions"]]
    answer = predict(model=model, controls=train, queries=queries, seed=seed)
    assert list(answer.var_names) == list(expected["genes"])
    assert list(answer.obs["perturbation"]) == queries
    difference = np.abs(answer.X - expected[prediction]).max()
    changes = (answer.X - expected["ctrl_mean"], expected[prediction] - expected["ctrl_mean"])
    lowest = min(np.corrcoef(ours, theirs)[0, 1] for ours, theirs in zip(*changes, strict=True))
    rule = f"difference of {TOLERANCE}" if difference <= TOLERANCE else f"correlation of {CORRELATION}"
    record_property(
        "parity", f"{prediction}: differs by {difference:.3g} at most, lowest r {lowest:.6f}; by the {rule}"
    )
    assert difference <= TOLERANCE or lowest >= CORRELATION, (difference, lowest)


EXACT = {"importance": float}
"""By Python: pandas before 3 may be off by the last bit."""


def _edges_of(table):
    return [tuple(row) for row in table.itertuples(index=False)]


def test_the_graph_equals_make_go():
    given = json.loads((TABLES / "go_make_go_input.json").read_text())
    edges = make_edges({gene: set(terms) for gene, terms in given["gene2go"].items()}, given["pert_list"])
    assert _edges_of(edges) == _edges_of(pd.read_csv(TABLES / "go_make_go_edges.csv", converters=EXACT))
    for k in (3, 20):
        expected = pd.read_csv(TABLES / f"go_make_go_top{k}.csv", converters=EXACT)
        # Which edges are kept is a rule, ties by row order; in what order pandas gives those of a target that has no
        # more than k is not, where they tie.
        assert sorted(_edges_of(strongest(edges, k + 1))) == sorted(_edges_of(expected))


def test_the_graph_equals_that_of_the_fixture():
    terms = {gene: set(listed) for gene, listed in json.loads((FIXTURE / "gene2go.json").read_text()).items()}
    expected = pd.read_csv(FIXTURE / "go_essential_all.csv", converters=EXACT)
    assert _edges_of(make_edges(terms, sorted(terms))) == _edges_of(expected)


def test_the_strongest_edges_give_the_network_of_cell_gears(gears):
    utils = importlib.import_module("gears.utils")
    genes = json.loads((TABLES / "go_make_go_input.json").read_text())["pert_list"]
    edges = strongest(pd.read_csv(TABLES / "go_make_go_edges.csv"), 4)
    network = utils.GeneSimNetwork(edges, genes, {gene: i for i, gene in enumerate(genes)})
    expected = pd.read_csv(TABLES / "go_make_go_top3_network.csv")
    np.testing.assert_array_equal(network.edge_index.numpy().T, expected[["source_index", "target_index"]])
    np.testing.assert_allclose(network.edge_weight.numpy(), expected["weight"], rtol=1e-6)


@pytest.mark.parametrize("graph", ["sym", "asym"])
def test_the_embedding_equals_igraph(graph):
    inputs, refs = np.load(TABLES / "linear_inputs.npz"), np.load(TABLES / "linear_refs.npz")
    columns = {"source": "source", "target": "target", "importance": "weight"}
    edges = pd.DataFrame({name: inputs[f"graph_{graph}_{column}"] for name, column in columns.items()})
    expected = pd.DataFrame(refs[f"spectral_{graph}.X"], index=refs[f"spectral_{graph}.genes"])
    table = embed_edges(edges, list(expected.index), expected.shape[1]).loc[expected.index]
    # Signs are arbitrary: products of coordinates are compared.
    for column in range(expected.shape[1]):
        ours, theirs = table.to_numpy()[:, column], expected.to_numpy()[:, column]
        np.testing.assert_allclose(np.outer(ours, ours), np.outer(theirs, theirs), rtol=0, atol=1e-8)


def test_the_hook_embeds_the_graph_of_a_file(screen, params):
    train, _, expected = screen
    labels = ["control", *map(str, expected["genes"][:5]), "nobody"]
    own = {name: params[name] for name in EMBEDDING.params if name in params}
    table = embed(train=train, labels=labels, files={}, params={**EMBEDDING.params, **own, "k": 10})
    assert list(table.index) == labels[1:-1]
    assert table.shape[1] == 10
