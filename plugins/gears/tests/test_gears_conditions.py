"""What GEARS is given, worked out without it."""

import importlib.util

import numpy as np
import pytest
from anndata import AnnData
from pertharness import CONTROL, DataError, Skip, read_settings
from pertharness.testing import planted_cells, pose
from pertharness.testing.planted import DOUBLES, SINGLES
from pertharness_gears import MODEL, fit
from pertharness_gears.conditions import assemble, plan_conditions, upstream_name, why_not
from pertharness_gears.files import PATHS
from pertharness_gears.settings import Network, Optimiser, Own, Settings

GENES = frozenset(SINGLES)


def test_names_are_those_of_cell_gears():
    names = [upstream_name(label) for label in (CONTROL, "KLF1", "CEBPE+KLF1")]
    assert names == ["ctrl", "KLF1+ctrl", "CEBPE+KLF1"]


def test_a_perturbation_outside_the_graph_is_refused_with_its_genes():
    assert why_not("CEBPE+KLF1", GENES) == ""
    assert why_not("CEBPE+NONE1", GENES) == "NONE1 is not in the GO graph"
    assert why_not("NONE1+NONE2", GENES) == "NONE1 and NONE2 are not in the GO graph"
    assert why_not("A+B+C", GENES) == "it has 3 targets, and GEARS takes at most 2"


def test_training_conditions_outside_the_graph_are_left_out_and_named():
    task = pose("double", "cells")
    plan = plan_conditions(task.train, task.val, GENES - {"KLF1"}, 32, 0)
    assert "KLF1" not in plan.train
    assert "CEBPE+KLF1" in plan.left_out
    assert plan.left_out["KLF1"] == "KLF1 is not in the GO graph"
    n_given = len({*task.train.obs["perturbation"], *task.val.obs["perturbation"]}) - 1  # the control is none
    first, reason = next(iter(plan.left_out.items()))
    words = f"{len(plan.left_out)} of {n_given} training perturbations are left out (first: {first!r}: {reason})"
    assert plan.notes == [words]
    assert not [label for label in (*plan.train, *plan.val) if "KLF1" in label.split("+")]


def test_the_order_is_that_of_the_data():
    task = pose("double", "cells")
    plan = plan_conditions(task.train, task.val, GENES, 32, 0)
    assert plan.train == list(dict.fromkeys(task.train.obs["perturbation"]))
    assert plan.val == [DOUBLES[3]]
    assert not plan.notes


@pytest.mark.parametrize("genes", [GENES, GENES - {"JUN"}], ids=["no val given", "val outside the graph"])
def test_without_validation_data_a_training_perturbation_takes_their_place(genes):
    task = pose("double", "cells")
    val = task.val if "JUN" not in genes else None  # the one of the task is FOS+JUN
    plans = [plan_conditions(task.train, val, genes, 32, seed) for seed in (0, 0, 1, 2, 3)]
    assert plans[0] == plans[1]
    assert len({plan.val[0] for plan in plans}) > 1
    for plan in plans:
        assert len(plan.val) == 1
        assert not {CONTROL, *plan.train} & {*plan.val} - {CONTROL}
        assert plan.val[0] in plan.notes[-1]


def test_genes_that_share_nothing_with_the_graph_are_a_skip():
    task = pose("double", "cells")
    with pytest.raises(Skip, match=r"can use 0 of 11 training perturbations.*is not in the GO graph"):
        plan_conditions(task.train, task.val, frozenset({"NONE1"}), 32, 0)


def test_less_than_one_batch_is_a_skip():
    task = pose("double", "cells")
    with pytest.raises(Skip, match=f"{task.train.n_obs} training cells are less than one batch of 5000"):
        plan_conditions(task.train, task.val, GENES, 5000, 0)


def test_a_perturbation_of_one_cell_is_left_out():
    adata = planted_cells()
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    rest = np.flatnonzero(labels == "MYC")[1:]
    plan = plan_conditions(adata[np.setdiff1d(np.arange(adata.n_obs), rest)].copy(), None, GENES, 32, 0)
    assert plan.left_out == {"MYC": "it has 1 cell, and GEARS needs 2 of each"}


def test_cells_are_those_of_train_and_val_in_this_order_as_csr():
    task = pose("double", "cells")
    train = task.train.copy()
    train.X = train.X.toarray()
    plan = plan_conditions(train, task.val, GENES - {"KLF1"}, 32, 0)
    adata = assemble(train, task.val, plan)
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.float32
    kept = [part[part.obs["perturbation"].isin([*plan.train, *plan.val])] for part in (task.train, task.val)]
    np.testing.assert_array_equal(adata.X.toarray(), np.vstack([part.X.toarray() for part in kept]))
    labels = [upstream_name(label) for part in kept for label in part.obs["perturbation"]]
    assert list(adata.obs["condition"]) == labels
    assert list(adata.var["gene_name"]) == list(train.var_names)
    assert not adata.layers


def test_a_gene_that_is_there_twice_is_refused():
    train = pose("double", "cells").train
    plan = plan_conditions(train, None, GENES, 32, 0)
    names = ["B2M", "B2M", *train.var_names[2:]]
    twice = AnnData(X=train.X, obs=train.obs)
    twice.var_names = names
    with pytest.raises(DataError, match="duplicate gene 'B2M'"):
        assemble(twice, None, plan)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"procedure": "papers"}, "procedure is 'papers': .*'paper' or 'corrected'"),
        ({"control_sampling": 300}, "control_sampling is 300"),
        ({"epochs": 0}, "epochs is 0: .*greater than or equal to 1"),
        ({"epochs": "many"}, "epochs is 'many': .*integer"),
        ({"batch_size": 1}, "batch_size is 1: .*greater than or equal to 2"),
        ({"lr": -1}, "lr is -1: .*greater than 0"),
        ({"num_similar_genes_go_graph": -5}, "num_similar_genes_go_graph is -5: "),
        ({"coexpress_threshold": float("nan")}, "coexpress_threshold is nan: "),
    ],
)
def test_a_wrong_parameter_is_refused(change, why):
    with pytest.raises(DataError, match=why):
        read_settings(Settings, {**MODEL.params, **change}, what="gears")


def test_all_published_settings_are_parameters():
    groups = [*Network.model_fields, *Optimiser.model_fields, *Own.model_fields, *PATHS]
    assert list(MODEL.params) == groups
    assert all(each.help for each in MODEL.params_help.values())
    assert MODEL.params_help["procedure"].formerly == ("protocol",)


@pytest.mark.parametrize(
    ("change", "sampling"),
    [
        ({}, "upstream"),
        ({"procedure": "corrected"}, "all"),
        ({"procedure": "corrected", "control_sampling": "upstream"}, "upstream"),
    ],
)
def test_the_procedure_chooses_the_controls_unless_a_parameter_does(change, sampling):
    assert read_settings(Settings, {**MODEL.params, **change}, what="gears").sampling == sampling


@pytest.mark.skipif(importlib.util.find_spec("gears") is not None, reason="cell-gears is installed here")
def test_without_cell_gears_it_is_a_skip_that_says_what_to_build(tmp_path):
    task = pose("double", "cells")
    path = tmp_path / "gene2go.csv"
    path.write_text("gene,term\n" + "\n".join(f"{gene},t" for gene in SINGLES))
    with pytest.raises(Skip, match="pertharness env build gears"):
        fit(train=task.train, val=task.val, files={}, params={**MODEL.params, "gene2go": str(path)}, device="cpu",
            seed=0, workdir=tmp_path)  # fmt: skip


def test_without_gene2go_the_model_is_skipped(tmp_path):
    task = pose("double", "cells")
    with pytest.raises(Skip, match="weights fetch gears"):
        fit(train=task.train, val=task.val, files={}, params=MODEL.params, device="cpu", seed=0, workdir=tmp_path)
