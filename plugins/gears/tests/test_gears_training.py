"""GEARS trained for a moment on planted data, in the plugin's environment."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pertharness.contract.jobs import PluginRef
from pertharness.testing import conformance, pose
from pertharness.testing.checks import list_checks, run_check
from pertharness.testing.planted import GENES, SINGLES
from pertharness_gears import MODEL, describe, fit, predict
from pertharness_gears.upstream import guest
from scipy import sparse

test_conformance = conformance("pertharness_gears")

SHORT = {**MODEL.params, "epochs": 1, "batch_size": 16, "hidden_size": 8}
N_TERMS, MEAN_TERMS = 30, 5


@pytest.fixture(scope="module")
def torch(gears):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="module")
def gene2go(tmp_path_factory):
    """Made-up terms of all planted genes but one single."""
    rng = np.random.default_rng(0)
    terms = {gene: [f"t{t}" for t in rng.choice(N_TERMS, MEAN_TERMS, replace=False)] for gene in GENES}
    del terms["TP53"]
    path = tmp_path_factory.mktemp("side") / "gene2go_all.json"
    path.write_text(json.dumps(terms))
    return path


@pytest.fixture
def trained(torch, gene2go, tmp_path_factory):
    def train(seed=1, task="double", **params):
        posed = pose(task, "cells")
        model = fit(
            train=posed.train, val=posed.val, files={}, params={**SHORT, "gene2go": str(gene2go), **params},
            device="cpu", seed=seed, workdir=tmp_path_factory.mktemp("job"),
        )  # fmt: skip
        return posed, model

    return train


def _answer(posed, model, queries=None, seed=1):
    return predict(model=model, controls=posed.controls, queries=queries or posed.queries, seed=seed)


def test_only_cells_of_train_and_val_reach_it(trained):
    posed, model = trained()
    left_out = ["TP53", "MYC+TP53"]
    given = [part[~part.obs["perturbation"].isin(left_out)] for part in (posed.train, posed.val)]
    np.testing.assert_array_equal(model.gears.adata.X.toarray(), np.vstack([part.X.toarray() for part in given]))
    (note,) = _answer(posed, model).uns["notes"]
    n_given = len({*posed.train.obs["perturbation"], *posed.val.obs["perturbation"]}) - 1  # the control is none
    assert note.startswith(f"2 of {n_given} training perturbations are left out (first: ")
    assert note.endswith(": TP53 is not in the GO graph)")


def test_queries_outside_the_graph_are_not_answered_by_name(trained):
    posed, model = trained()
    answer = _answer(posed, model, ["KLF1", "TP53", "KLF1+ZNF9999", "CEBPE+KLF1+MYC"])
    assert list(answer.obs["perturbation"]) == ["KLF1"]
    assert dict(answer.uns["unanswered"]) == {
        "TP53": "TP53 is not in the GO graph", "KLF1+ZNF9999": "ZNF9999 is not in the GO graph",
        "CEBPE+KLF1+MYC": "it has 3 targets, and GEARS takes at most 2",
    }  # fmt: skip


def test_a_gene_that_was_never_perturbed_is_answered(trained):
    posed, model = trained(task="single")
    answer = _answer(posed, model)
    assert list(answer.obs["perturbation"]) == posed.queries == list(SINGLES[:2])
    assert np.isfinite(answer.X).all()


def test_one_seed_gives_one_answer_and_another_another(trained):
    answers = [_answer(*trained(seed=seed), seed=seed).X for seed in (1, 1, 2)]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[0] - answers[2]).max() > 1e-4


def test_a_model_asked_twice_answers_the_same(trained):
    posed, model = trained()
    np.testing.assert_array_equal(_answer(posed, model).X, _answer(posed, model).X)
    assert np.abs(_answer(posed, model).X - _answer(posed, model, seed=2).X).max() > 0  # other control cells


def _one_by_one(gears, targets):
    """The model's answer for each control cell in a batch of its own, shape (n_cells, n_genes)."""
    import torch
    from torch_geometric.data import Batch, Data

    index = [gears.pert_list.index(target) for target in targets]
    cells = gears.adata.X[(gears.adata.obs["condition"] == "ctrl").to_numpy()].toarray()
    with torch.no_grad():
        batches = [Batch.from_data_list([Data(x=torch.tensor(cell)[:, None], pert_idx=index)]) for cell in cells]
        return np.vstack([gears.best_model.eval()(batch).numpy() for batch in batches])


def test_corrected_is_the_mean_over_all_controls_each_as_it_would_be_alone(trained):
    posed, model = trained(procedure="corrected")
    answer = _answer(posed, model, ["CEBPE+KLF1"])
    np.testing.assert_allclose(answer.X[0], _one_by_one(model.gears, ["CEBPE", "KLF1"]).mean(axis=0), atol=1e-5)
    np.testing.assert_array_equal(answer.X, _answer(posed, model, ["CEBPE+KLF1"], seed=5).X)


def test_as_published_only_the_first_cell_of_a_batch_is_smoothed(trained):
    posed, model = trained(control_sampling="all")
    alone = _one_by_one(model.gears, ["KLF1"]).mean(axis=0)
    assert np.abs(_answer(posed, model, ["KLF1"]).X[0] - alone).max() > 1e-4


def test_corrected_takes_the_coexpression_of_all_training_cells(trained):
    _, model = trained(procedure="corrected", coexpress_threshold=0.2)
    gears = model.gears
    cells = gears.adata.X[gears.adata.obs["condition"].isin(gears.set2conditions["train"]).to_numpy()].toarray()
    r = np.abs(np.corrcoef(cells.astype(float).T))
    expected = {
        (int(source), target) for target in range(len(r)) for source in np.argsort(r[target])[-21:]
        if r[target, source] > 0.2
    }  # fmt: skip
    assert {tuple(edge) for edge in gears.config["G_coexpress"].numpy().T.tolist()} == expected
    singles = [name for name in gears.set2conditions["train"] if "ctrl" in name]
    assert len(singles) < len(gears.set2conditions["train"])


def test_corrected_draws_another_control_whenever_a_cell_is_seen(trained):
    _, model = trained(procedure="corrected")
    cells = model.gears.dataloader["train_loader"].dataset
    at = next(i for i in range(len(cells)) if cells[i].pert != "ctrl")
    seen = [tuple(cells[at].x.ravel().tolist()) for _ in range(8)]
    controls = model.gears.adata.X[(model.gears.adata.obs["condition"] == "ctrl").to_numpy()].toarray()
    assert len(set(seen)) > 1
    assert set(seen) <= {tuple(cell.tolist()) for cell in controls}


@pytest.mark.filterwarnings("ignore")  # those of cell-gears itself
def test_the_hooks_equal_a_plain_script_of_cell_gears(torch, gene2go, tmp_path):
    posed = pose("double", "cells")
    params = {**SHORT, "epochs": 2, "gene2go": str(gene2go)}
    (tmp_path / "job").mkdir()
    model = fit(
        train=posed.train, val=posed.val, files={}, params=params, device="cpu", seed=7, workdir=tmp_path / "job"
    )
    answer = _answer(posed, model, ["CEBPE+KLF1", "MYC"], seed=7)
    expected = _plain_script(posed, gene2go, tmp_path, seed=7)
    np.testing.assert_array_equal(answer.X, expected)


def _plain_script(posed, gene2go, folder, seed):
    """What a user of cell-gears writes, with the graph as a file that it reads and cuts itself."""
    import anndata
    import gears
    import torch

    terms = {gene: set(listed) for gene, listed in json.loads(gene2go.read_text()).items()}
    rows = [(a, b, len(terms[a] & terms[b]) / len(terms[a] | terms[b])) for a in sorted(terms) for b in sorted(terms)]
    home = folder / "plain"
    (home / "go_essential_all").mkdir(parents=True)
    lines = ["source,target,importance", *(f"{a},{b},{weight!r}" for a, b, weight in rows if weight > 0.1)]
    (home / "go_essential_all" / "go_essential_all.csv").write_text("\n".join(lines))
    (home / "gene2go_all.pkl").write_bytes(pickle.dumps(terms))
    (home / "essential_all_data_pert_genes.pkl").write_bytes(pickle.dumps(sorted(terms)))
    parts = [part[~part.obs["perturbation"].str.contains("TP53")] for part in (posed.train, posed.val)]
    names = [
        [
            "+".join([*label.split("+"), "ctrl"][:2]).replace("control+ctrl", "ctrl")
            for label in part.obs["perturbation"]
        ]
        for part in parts
    ]
    x = sparse.vstack([part.X for part in parts], format="csr")
    obs = pd.DataFrame({"condition": names[0] + names[1], "cell_type": "K562"})
    adata = anndata.AnnData(x, obs.set_index("c" + obs.index.astype(str)))
    adata.var_names = GENES
    adata.var["gene_name"] = list(GENES)
    np.random.seed(seed)
    data = gears.PertData(str(home))
    data.new_data_process("planted", adata)
    data.load(data_path=str(home / "planted"))
    data.set2conditions = {"train": list(dict.fromkeys(names[0])), "val": list(dict.fromkeys(names[1]))}
    data.split, data.subgroup, data.seed, data.train_gene_set_size = "no_test", None, seed, 0.75
    data.get_dataloader(16)
    torch.manual_seed(seed)
    model = gears.GEARS(data, device="cpu")
    model.model_initialize(hidden_size=8)
    model.train(epochs=2)
    np.random.seed(seed)
    found = model.predict([["CEBPE", "KLF1"], ["MYC"]])
    return np.array([found["CEBPE_KLF1"], found["MYC"]], dtype=np.float64)


def test_a_missing_file_is_an_error_and_no_download(torch, tmp_path):
    import requests
    from gears import PertData

    get = requests.get
    with guest(), pytest.raises(OSError, match="gives it all its files, and no network"):
        PertData(str(tmp_path / "empty"))
    assert requests.get is get


def test_everything_is_written_in_the_job_s_folder(torch, gene2go, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job").mkdir()
    task = pose("double", "cells")
    params = {**SHORT, "gene2go": str(gene2go)}
    fit(train=task.train, val=task.val, files={}, params=params, device="cpu", seed=1, workdir=tmp_path / "job")
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


def test_an_import_leaves_nothing_for_another_job_to_trip_over(torch, tmp_path):
    """dcor compiled itself into shared files: of two jobs that began together one was ended by LLVM."""
    script = "from pertharness_gears.upstream import load_gears; load_gears(); import sys; print('dcor' in sys.modules)"
    command = [sys.executable, "-c", script]
    jobs = [subprocess.Popen(command, env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}, stdout=-1) for _ in "ab"]
    assert [(job.communicate()[0], job.returncode) for job in jobs] == [(b"False\n", 0)] * 2
    assert not list(tmp_path.glob("dcor*"))


CHECKS = [check.id for check in list_checks(describe()) if check.offer]


@pytest.mark.parametrize("check", CHECKS)
def test_the_kit_passes_with_a_gene2go(check, torch, gene2go, tmp_path, monkeypatch):
    """The published settings but for the name of the file: the kit gives what was fetched."""
    from pertharness import Skip

    monkeypatch.chdir(tmp_path)
    path = _as_fetched(gene2go)
    try:
        run_check(check, PluginRef(name="gears", module="pertharness_gears", version="0"), {path.name: path})
    except Skip as skip:
        pytest.skip(str(skip))


def _as_fetched(gene2go):
    """The same terms as a pickle, under the name of the published file."""
    path = gene2go.with_name("gene2go_all.pkl")
    path.write_bytes(pickle.dumps({gene: set(terms) for gene, terms in json.loads(gene2go.read_text()).items()}))
    return path
