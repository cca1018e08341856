"""Observed values of held-out cells: what they are, who gets them, and that nobody else does."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness.contract.cards import RemoteFile
from pertharness.data import canonical, oracle, streaming
from pertharness.data.oracle import observe_targets
from pertharness.files.whole import sha256_file
from pertharness.host.execution.local import local_executor
from pertharness.host.plan import Plan, Source
from pertharness.host.plan.data_jobs import plan_dataset
from pertharness.host.plan.oracle_jobs import NO_CELLS, NO_TRUTH
from pertharness.host.plan.planner import Planner
from pertharness.host.plan.query_jobs import KeptFiles, plan_kept, plan_queries
from pertharness.host.plugins.registry import Offered, Registry
from pertharness.host.recipe import Recipe, parse_model, parse_recipe, recipe_text
from pertharness.host.run.recipes import Choices, choose_recipe
from pertharness.host.store.records import Store
from scipy import sparse
from test_plan import MINE, keys, make_registry, model, nodes, plan_of

GENES = ["KLF1", "A", "B", "C", "D", "E"]
LABELS = ["control", "A", "A+B", "B", "B+Z", "Z", "A+B", "A", "C"]


def cells(*, dense: bool = False, guides: bool = False) -> AnnData:
    """Return nine cells of six genes; one has nothing but zeros, and Z is not measured."""
    values = np.round(np.random.default_rng(0).uniform(0, 3, (9, 6)) * 8) / 8
    values[values < 1.5] = 0
    values[7] = 0
    obs = pd.DataFrame({"perturbation": pd.Categorical(LABELS)}, index=[f"cell{i}" for i in range(9)])
    if guides:
        obs["genes"] = pd.Categorical([{"A": "E", "A+B": "B+E"}.get(label, label) for label in LABELS])
    matrix = values.astype(np.float32)
    fields = {"name": "x", "level": "cells", "scale": canonical.SCALE, "origin": "made here", "modality": "ko"}
    return AnnData(
        X=matrix if dense else sparse.csr_matrix(matrix), obs=obs, var=pd.DataFrame(index=GENES),
        uns={"pertharness": fields},
    )  # fmt: skip


def expected(adata: AnnData, asked: list[str], listed: list[str] | None) -> tuple[list[str], dict[Any, float], Any]:
    """Return columns, stored values by row and gene, and the table, computed cell by cell."""
    values = adata.X if isinstance(adata.X, np.ndarray) else adata.X.toarray()
    of_label = adata.obs.get("genes", adata.obs["perturbation"]).astype(str)
    rows = [i for i, label in enumerate(adata.obs["perturbation"]) if label in asked]
    stored, table = {}, []
    for at, i in enumerate(rows):
        for gene in of_label.iloc[i].split("+"):
            if gene in GENES:
                stored[at, gene] = float(values[i, GENES.index(gene)])
        facts = []
        for kept in [GENES] + ([] if listed is None else [[gene for gene in GENES if gene in listed]]):
            own = [float(values[i, GENES.index(gene)]) for gene in kept]
            positive = [value for value in own if value]
            facts += [sum(np.expm1(value) for value in own), min(positive, default=np.nan), len(positive)]
        table.append([adata.obs["perturbation"].iloc[i], *facts])
    return sorted({gene for _, gene in stored}), stored, table


@pytest.mark.parametrize("listed", [None, ["C", "A", "unknown"]])
@pytest.mark.parametrize("form", [{}, {"dense": True}, {"guides": True}])
@pytest.mark.parametrize("asked", [["A"], ["B", "A+B"], ["A", "B+Z", "Z", "C"], ["Z"]])
def test_values_and_facts_are_those_of_a_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], form: dict[str, bool], listed: list[str] | None
) -> None:
    adata = cells(**form)
    names, stored, table = expected(adata, asked, listed)
    canonical.write(adata, tmp_path / "cells.h5ad")
    by_row = streaming.row_chunks
    monkeypatch.setattr(oracle, "row_chunks", lambda matrix: by_row(matrix, 1))
    for source in (adata, canonical.open_stored(tmp_path / "cells.h5ad")):
        canonical.write(observe_targets(source, asked, listed), tmp_path / "oracle.h5ad")
        made = canonical.read(tmp_path / "oracle.h5ad")
        assert list(made.var_names) == names
        matrix = sparse.csr_matrix(made.X)
        assert (matrix.dtype, matrix.shape) == (np.dtype(np.float32), (len(table), len(names)))
        rows, columns = np.repeat(np.arange(len(table)), np.diff(matrix.indptr)), matrix.indices
        assert {
            (int(row), names[column]): float(value)
            for row, column, value in zip(rows, columns, matrix.data, strict=True)
        } == stored  # also those that are 0, and no others
        assert made.obs["perturbation"].tolist() == [row[0] for row in table]
        measured = made.obs.drop(columns="perturbation")
        assert measured.to_numpy(float) == pytest.approx(np.array([row[1:] for row in table], float), nan_ok=True)
        kinds = {"total": "float64", "smallest": "float32", "detected": "int64"}
        suffixes = [""] if listed is None else ["", "_listed"]
        assert {name: str(measured[name].dtype) for name in measured} == {
            name + suffix: kind for suffix in suffixes for name, kind in kinds.items()
        }


def test_the_size_of_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    adata = cells()
    values = np.tile(adata.X.toarray(), (100, 1)) * np.random.default_rng(1).uniform(0.5, 1, (900, 6))
    large = AnnData(
        X=sparse.csr_matrix(values.astype(np.float32)),
        obs=pd.concat([adata.obs] * 100).set_axis([str(i) for i in range(900)]),
        var=adata.var, uns=adata.uns,
    )  # fmt: skip
    whole = observe_targets(large, ["A", "A+B", "C"])
    by_row = streaming.row_chunks
    for n_bytes in (1, 100, 1000):
        monkeypatch.setattr(oracle, "row_chunks", lambda matrix, size=n_bytes: by_row(matrix, size))
        again = observe_targets(large, ["A", "A+B", "C"])
        assert (again.X != whole.X).nnz == 0
        pd.testing.assert_frame_equal(again.obs, whole.obs)


def test_a_column_that_a_row_has_twice_counts_as_its_sum_and_the_dataset_stays() -> None:
    adata = cells()
    twice = sparse.csr_matrix(
        (np.array([1, 0.5, 2], dtype=np.float32), np.array([1, 1, 0]), np.array([0, 0, 3] + [3] * 7)), shape=(9, 6)
    )
    adata.X = twice
    before = adata.X.copy()
    made = observe_targets(adata, ["A"])
    assert made.X.toarray()[0, 0] == 1.5
    assert made.obs.iloc[0].tolist() == ["A", pytest.approx(np.expm1(1.5) + np.expm1(2)), 1.5, 2]
    assert adata.X.data.tolist() == before.data.tolist()


RESTRICTED = "is given observed values of held-out cells (an oracle), which oracle = false denies"
LIST = RemoteFile(url="https://example.org/genes.txt", filename="genes.txt")
SEEING: dict[str, Any] = {"information": "oracle", "oracle": "target_expression"}
OFFERS = (
    model("seeing", **SEEING), model("seeing_too", **SEEING, input="cells"),
    model(
        "listed", **SEEING, weights=(LIST,), gene_list="genes.txt", params={"genes": "", "k": 1},
        file_params=("genes",), replaces_weights={"genes": ("genes.txt",)},
    ),
)  # fmt: skip


def seeing_registry() -> Registry:
    """Return a registry with models that are given an oracle."""
    registry = make_registry()
    registry.models.update({offer.name: Offered(MINE, offer) for offer in OFFERS})
    return registry


def oracles_of(plan: Plan) -> dict[str, set[str]]:
    """Return the keys of the oracles that jobs name, by the name of the job."""
    used: dict[str, set[str]] = {}
    for node in plan.nodes.values():
        for role, path in node.job.inputs_by_role().items():
            if role == "oracle" or "oracles" in path.parts:
                assert (role, node.stage, node.job.plugin.name) == ("oracle", "predictions", "mine")
                assert path.parent.name in node.needs
                used.setdefault(node.job.name, set()).add(path.parent.name)
    return used


def test_an_oracle_is_planned_once_per_split_and_list_and_for_those_alone_that_declare_it(tmp_path: Path) -> None:
    names = ["mean", "ridge", "deep", "seeing", "seeing_too", "listed"]
    plan = plan_of(tmp_path, seeing_registry(), models=names)
    used = oracles_of(plan)
    assert used.keys() == {"seeing", "seeing_too", "listed"}
    assert used["seeing"] == used["seeing_too"]
    assert used["seeing"].isdisjoint(used["listed"])
    assert keys(plan, "oracles") == used["seeing"] | used["listed"]
    assert [len(each) for each in used.values()] == [2, 2, 2]  # two splits
    for node in nodes(plan, "oracles"):
        assert set(node.job.inputs) == {"dataset", "split"}  # of the missing list only the key knows
        assert (node.job.plugin.name, node.job.options) == ("pertharness", {"score_on": ["test"]})


def test_models_without_an_oracle_keep_their_keys_beside_one(tmp_path: Path) -> None:
    alone, beside = (
        {node.key for node in nodes(plan_of(tmp_path, seeing_registry(), models=names), "predictions")}
        for names in (["mean", "deep"], ["mean", "seeing", "deep", "listed"])
    )
    assert alone < beside


def test_the_candidates_of_a_grid_see_val_too(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, seeing_registry(), models=["listed[k=1|2]"], seeds=[1])
    [node] = nodes(plan, "oracles")
    assert node.job.options == {"score_on": ["test", "val"]}
    assert oracles_of(plan) == {"listed": {node.key}}


def test_the_list_of_a_recipe_takes_the_place_of_the_published_one(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"A\n{name}\n")
    models = [f"listed[genes={tmp_path / 'one.txt'}]", f"listed[genes={tmp_path / 'two.txt'}]", "listed"]
    plan = plan_of(tmp_path, seeing_registry(), models=models, seeds=[1])
    lists = [node.job.inputs.get("gene_list") for node in nodes(plan, "oracles")]
    assert lists == [tmp_path / "one.txt", tmp_path / "two.txt", None]
    sums_in_keys = [node.job.key_parts.inputs["gene_list"] for node in nodes(plan, "oracles") if node.job.key_parts]
    assert sums_in_keys[:2] == [sha256_file(path) for path in lists if path]
    assert "genes.txt" in sums_in_keys[2]


def with_facts(plan: Plan, folder: Path, level: str) -> None:
    """Write what the plan asks of the dataset's record."""
    record_folder = folder / "store" / "datasets" / plan.datasets["demo"]
    record_folder.mkdir(parents=True, exist_ok=True)
    (record_folder / "facts.json").write_text(json.dumps({"level": level}))


@pytest.mark.parametrize(
    ("level", "reasons"), [("pseudobulk", {NO_CELLS}), ("cells", {None, "needs the file 'genes.txt', which is not"})]
)
def test_there_is_nothing_to_observe_without_cells_and_no_count_without_the_list(
    tmp_path: Path, level: str, reasons: set[str | None]
) -> None:
    plan = plan_of(tmp_path, seeing_registry(), models=["seeing", "listed"], seeds=[1])
    with_facts(plan, tmp_path, level)
    told = {node.preflight() if node.preflight else "" for node in nodes(plan, "oracles")}
    assert {reason and reason.partition(" available")[0] for reason in told} == reasons


def test_a_recipe_can_deny_the_oracle(tmp_path: Path) -> None:
    names = ["mean", "seeing", "listed", "listed[k=1|2]"]
    plan = plan_of(tmp_path, seeing_registry(), models=names, seeds=[1], oracle=False)
    assert not nodes(plan, "oracles")
    ends = {attempt.label: (attempt.state, attempt.reason) for attempt in plan.attempts}
    assert ends.pop("mean") == ("skipped", "")
    grid = plan.selections[0]
    assert {candidate.reason for candidate in grid.candidates} == {RESTRICTED}
    assert {candidate.prediction for candidate in grid.candidates} == {""}
    del ends["listed[k=*]"]  # ends as its candidates do
    assert set(ends.values()) == {("skipped", RESTRICTED)}
    assert len(ends) == 2


def test_a_recipe_allows_the_oracle_unless_it_says_otherwise() -> None:
    assert Recipe().oracle
    assert not parse_recipe("oracle = false", "r", Path()).oracle
    assert not parse_recipe(recipe_text(Recipe(oracle=False)), "r", Path()).oracle
    assert choose_recipe({"datasets": {"demo": {}}, "tasks": [{"split": {"kind": "double"}}]}, Choices()).oracle
    chosen = {"datasets": {"demo": {}}, "tasks": [{"split": {"kind": "double"}}]}
    assert not choose_recipe(chosen, Choices(no_oracle=True)).oracle
    assert not choose_recipe({**chosen, "oracle": False}, Choices()).oracle


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"oracle": "target_expression"}, "has oracle='target_expression' and information='training'"),
        ({"information": "oracle"}, "has oracle=None and information='oracle'"),
        ({"gene_list": "genes.txt", "weights": (LIST,)}, "has gene_list='genes.txt' and no oracle"),
        ({**SEEING, "gene_list": "other.txt", "weights": (LIST,)}, "none of the weights that it needs: 'genes.txt'"),
        ({**SEEING, "gene_list": "genes.txt"}, "none of the weights that it needs: it has none"),
        (
            {**SEEING, "gene_list": "genes.txt", "weights": (LIST.model_copy(update={"optional": True}),)},
            "none of the weights that it needs: it has none",
        ),
        (
            {
                **SEEING, "gene_list": "genes.txt", "weights": (LIST, LIST.model_copy(update={"filename": "w.pt"})),
                "params": {"both": ""}, "file_params": ("both",), "replaces_weights": {"both": ("genes.txt", "w.pt")},
            },
            "has the gene list 'genes.txt' among others",
        ),
    ],
)  # fmt: skip
def test_a_card_that_contradicts_itself_on_the_oracle_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        model("odd", **fields)


def test_a_users_queries_are_skipped_for_there_is_nothing_to_observe(tmp_path: Path) -> None:
    store, registry = Store.open(tmp_path / "store"), seeing_registry()
    recipe = Recipe.model_validate({"datasets": {"demo": {}}})
    planner = Planner(recipe, registry, store, local_executor(store.root), Plan())
    planner.plan.datasets["demo"] = plan_dataset(planner, "demo", Source())
    offered = registry.models["seeing"]
    key = plan_queries(planner, "demo", parse_model("seeing"), offered, ["A"])
    with_facts(planner.plan, tmp_path, "cells")
    node = planner.plan.nodes[key]
    assert not nodes(planner.plan, "oracles")
    assert "oracle" not in node.job.inputs
    assert node.preflight
    assert node.preflight() == NO_TRUTH
    kept = KeptFiles(key, node.job, (tmp_path / "model.zip", "sum"), (tmp_path / "train.h5ad", "sum"))
    again = planner.plan.nodes[plan_kept(planner, kept, offered, ["A"])]
    assert again.preflight
    assert again.preflight() == NO_TRUTH
    denied = replace(planner, recipe=recipe.model_copy(update={"oracle": False}))
    assert plan_queries(denied, "demo", parse_model("mean"), registry.models["mean"], ["A"])
