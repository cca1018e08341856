"""The Guard: a plugin that breaks a contract ends as `invalid`; the message names plugin, hook and value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import MetricOffer, ScorerOffer, TableOffer, Task, make_prediction
from pertharness.contract.errors import ContractError
from pertharness.contract.jobs import Claim, Job, PluginRef
from pertharness.contract.scores import COLUMNS, Scores
from pertharness.data import canonical
from pertharness.data.embeddings import write_embedding
from pertharness.worker.main import main
from pertharness.worker.score_checks import check_artefacts, check_scores
from scipy import sparse

# Each body is one plugin's fault: what it does to a good answer; then words that the message must have.
Faults = dict[str, tuple[str, list[str]]]

PREDICT: Faults = {
    "other_genes": ("prediction.var_names = ['A', 'B', 'C', 'X']", ["genes are missing: 1", "['D']", "['X']"]),
    "fewer_genes": ("prediction = prediction[:, :3].copy()", ["genes are missing: 1", "['D']"]),
    "other_order": ("prediction = prediction[:, ::-1].copy()", ["another order", "gene 0 is 'D', expected 'A'"]),
    "nan": ("prediction.X[1, 3] = np.nan", ["values are not finite", "nan", "query 'C'", "gene 'D'"]),
    "infinite": ("prediction.X[0, 1] = -np.inf", ["-inf", "query 'A+B'", "gene 'B'"]),
    "missing_query": ("prediction = prediction[:1].copy()", ["1 of 2 queries", "'C'", "unanswered"]),
    "extra_query": ("prediction.obs['perturbation'] = ['C', 'Z']", ["query 'Z' was not requested", "A+B, C"]),
    "duplicate_rows": ("prediction.obs['perturbation'] = ['C', 'C']", ["duplicate query 'C'"]),
    "empty_label": ("prediction.obs['perturbation'] = ['C', None]", ["was not requested (requested: A+B, C)"]),
    "no_labels": ("del prediction.obs['perturbation']", ["no column 'perturbation'", "make_prediction"]),
    "unanswered_list": ("prediction.uns['unanswered'] = ['C']", ["uns['unanswered'] is a list", "dict"]),
    "unanswered_unknown": ("prediction.uns['unanswered'] = {'Z': 'why'}", ["unanswered query 'Z'"]),
    "answered_twice": ("prediction.uns['unanswered'] = {'C': 'why'}", ["'C' is both answered and"]),
    "missing_genes_list": ("prediction.uns['missing_genes'] = ['D']", ["uns['missing_genes'] is a list", "gene"]),
    "missing_genes_unknown": ("prediction.uns['missing_genes'] = {'X': 'why'}", ["names 'X'", "not a gene"]),
    "missing_gene_given": ("prediction.uns['missing_genes'] = {'D': 'why'}", ["names 'D'", "has values", "NaN"]),
    "notes_text": ("prediction.uns['notes'] = 'slow'", ["uns['notes'] is 'slow'", "list of texts"]),
    "notes_numbers": ("prediction.uns['notes'] = ['slow', 3]", ["uns['notes'] is ['slow', 3]", "list of texts"]),
    "not_anndata": ("return prediction.to_df()", ["returned DataFrame, expected an AnnData"]),
    "nothing": ("return None", ["returned NoneType, expected an AnnData"]),
    "no_values": ("return ad.AnnData(obs=prediction.obs, var=prediction.var)", ["'object'", "expected numbers"]),
    "changes_controls": ("controls.X[0, 0] += 1", ["changed 'controls'", "controls.copy()"]),
    "adds_to_controls": ("controls.obs['mine'] = 1", ["changed 'controls'"]),
    "pops_a_query": ("queries.pop()", ["changed 'queries'", "queries = queries.copy()"]),
    "counts": (
        "prediction.X[1, 3] = 1e6",
        ["1 of 8 values are out of range", "1e+06 for the query 'C', gene 'D'", "ends at 9.22"],
    ),
    "far_below": ("prediction.X[0, 1] = -50", ["-50 for the query 'A+B', gene 'B'", "at least -9.22"]),
}
FIT: Faults = {
    "changes_train": ("train.X[0, 0] += 1", ["changed 'train'", "train = train.copy()"]),
    "changes_sparse": ("train.X.data *= 2", ["changed 'train'"]),
    "changes_labels": ("train.obs['perturbation'] = 'A'", ["changed 'train'"]),
    "changes_layer": ("train.layers['counts'][0, 0] += 1", ["changed 'train'"]),
    "changes_names": ("train.var_names = [*'DCBA']", ["changed 'train'"]),
    "changes_uns": ("train.uns['pertharness']['level'] = 'cells'", ["changed 'train'"]),
    "adds_components": ("train.obsm['X_pca'] = train.X[:, :2]", ["changed 'train'"]),
    "changes_params": ("params['k'] = 2", ["changed 'params'", "params = params.copy()"]),
    "changes_files": ("files.pop('side.txt')", ["changed 'files'"]),
    "changes_slot": ("embeddings['G'].iloc[0, 0] += 1", ["changed \"embeddings['G']\"", "embeddings['G'].copy()"]),
    "adds_a_slot": ("embeddings['P'] = embeddings['G']", ["changed 'embeddings'"]),
    "changes_reference": ("references['other'].X[0, 0] += 1", ["changed \"references['other']\""]),
    "drops_a_reference": ("references.clear()", ["changed 'references'"]),
    "changes_val": ("val.X[0, 0] += 1", ["changed 'val'", "val = val.copy()"]),
    "no_model": ("return None", ["returned None, expected the fitted model"]),
}
LOAD: Faults = {
    "not_anndata": ("return adata.to_df()", ["returned DataFrame, expected an AnnData"]),
    "no_fields": ("del adata.uns['pertharness']", ["uns['pertharness'] is missing"]),
    "no_control": ("adata = adata[1:].copy()", ["no 'control'"]),
    "unsorted_label": ("adata.obs['perturbation'] = [*'control A B B+A C'.split()]", ["'B+A'", "'A+B'"]),
    "raw_counts": ("adata.X[1, 2] = 4000", ["4000.0", "row 'A'", "gene 'C'"]),
    "nan": ("adata.X[1, 2] = np.nan", ["nan", "row 'A'", "gene 'C'"]),
    "changes_params": ("params['k'] = 2", ["changed 'params'"]),
    "genes_twice": ("adata.var_names = ['A', 'A', 'C', 'D']", ["more than once", "'A'"]),
}
EMBED: Faults = {
    "unknown_label": ("table.index = ['A', 'Q', 'C', 'D']", ["label 'Q' was not requested", "A, B, C, D"]),
    "label_twice": ("table.index = ['A', 'A', 'C', 'D']", ["duplicate label 'A'"]),
    "nan": ("table.iloc[0, 0] = np.nan", ["not finite"]),
    "texts": ("table['y'] = 'far'", ["not finite numbers"]),
    "no_columns": ("table = table[[]]", ["expected a DataFrame with a column per dimension"]),
    "changes_train": ("train.X[0, 0] += 1", ["changed 'train'", "train = train.copy()"]),
    "changes_labels": ("labels.reverse()", ["changed 'labels'"]),
    "changes_params": ("params['k'] = 2", ["changed 'params'"]),
    "changes_reference": ("references['other'].X[0, 0] += 1", ["changed \"references['other']\""]),
    "not_a_table": ("return table.to_numpy()", ["returned ndarray, expected a DataFrame"]),
}
SCORE: Faults = {
    **{
        f"changes_{name}": (f"{name}.X[0] -= 1", [f"changed {name!r}", f"{name} = {name}.copy()"])
        for name in ("truth", "prediction", "controls", "train", "screen")
    },
    "changes_labels": ("truth.obs['perturbation'] = truth.obs['perturbation'].cat.codes", ["changed 'truth'"]),
    "changes_reference": ("references['other'].X[0, 0] += 1", ["changed \"references['other']\""]),
    "changes_params": ("params['k'] = 2", ["changed 'params'"]),
    "not_a_table": ("return 0.5", ["returned float, expected a DataFrame"]),
    "no_column": ("del table['variant']", ["no column 'variant'", "perturbation, gene, metric"]),
    "other_metric": ("table['metric'] = 'mse'", ["metric 'mse'", "not on the card", "l2"]),
    "other_variant": ("table['variant'] = 'loose'", ["variant 'loose'", "not on the card"]),
    "unknown_query": ("table['perturbation'] = 'Z'", ["perturbation 'Z' was not requested"]),
    "unanswered_query": ("table['perturbation'] = 'C'", ["a value for 'C'", "did not answer"]),
    "twice": ("table = pd.concat([table, table])", ["duplicate value of 'l2' ('default') for 'A+B'"]),
    "text": ("table['value'] = 'good'", ["'good'", "expected numbers"]),
    "infinite": ("table['value'] = np.inf", ["'l2' is inf for 'A+B'", "NaN"]),
    "escapes": ("return Scores(table, {'../../evil': table})", ["'../../evil'"]),
    "overwrites": ("return Scores(table, {'scores': table})", ["artefact", "'scores'"]),
    "artefact_list": ("return Scores(table, {'curve': [1]})", ["artefact 'curve' is a list"]),
}
HOOKS = {"predict": PREDICT, "fit": FIT, "load_dataset": LOAD, "embed": EMBED, "score": SCORE}
STAGES = {
    "predict": "predictions", "fit": "predictions", "load_dataset": "datasets", "embed": "embeddings",
    "score": "scores",
}  # fmt: skip

ZOO = """
import anndata as ad, numpy as np, pandas as pd, pertharness as p
from pertharness.data import canonical
from pertharness.contract.scores import COLUMNS, Scores

def fit_reads_sparse(train, *_):
    train.X.sort_indices()
    return train.X.max(axis=1)

def fit_writes_train(train, *_):  # which makes categories of texts
    train.write_h5ad("train.h5ad")
    return train.X.mean(axis=0)

def predict_a_little_below_0(prediction, *_):
    prediction.X[0, 0], prediction.X[1, 1] = -0.125, -0.25
    return prediction

def act(hook, name, *given):
    return globals().get(f"{hook}_{name}", lambda first, *_: first)(*given)

@p.hookimpl
def load_dataset(name, source, params):
    return act("load_dataset", name, canonical.read(source), params)

@p.hookimpl
def embed(name, labels, train, references, params):
    table = pd.DataFrame({"x": range(len(labels))}, index=list(labels))
    return act("embed", name, table, labels, train, references, params)

@p.hookimpl
def fit(name, train, val, embeddings, references, files, params):
    return act("fit", name, train, val, embeddings, references, files, params)

@p.hookimpl
def predict(name, controls, queries):
    means = {query: p.control_mean(controls) for query in queries}
    return act("predict", name, p.make_prediction(means, controls.var_names), controls, queries)

@p.hookimpl
def score(name, truth, prediction, controls, train, screen, references, params):
    rows = [(label, "", "l2", "default", "", 0.5) for label in prediction.obs["perturbation"]]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return act("score", name, table, truth, prediction, controls, train, screen, references, params)
"""
ARGUMENTS = {
    "predict": "prediction, controls, queries", "fit": "train, val, embeddings, references, files, params",
    "load_dataset": "adata, params", "embed": "table, labels, train, references, params",
    "score": "table, truth, prediction, controls, train, screen, references, params",
}  # fmt: skip


def zoo_source() -> str:
    """Return the module of a plugin with one function per fault."""
    lines = [ZOO]
    for hook, faults in HOOKS.items():
        arguments = ARGUMENTS[hook]
        answer = arguments.split(",")[0]
        for name, (body, _) in faults.items():
            lines.append(f"def {hook}_{name}({arguments}):\n    {body}\n    return {answer}")
    return "\n".join(lines)


def make_means(labels: list[str]) -> AnnData:
    """Return a pseudobulk of four genes, row i gene j of which is (i + j) / 8."""
    values = np.add.outer(np.arange(len(labels)), np.arange(4)) / 8
    obs = pd.DataFrame({"perturbation": pd.Categorical(labels), "label_given": pd.Categorical(labels)}, index=labels)
    fields = {"name": "tiny", "level": "pseudobulk", "scale": canonical.SCALE, "origin": "made here"}
    adata = AnnData(X=values, obs=obs, var=pd.DataFrame(index=[*"ABCD"]), uns={"pertharness": fields})
    adata.layers["counts"] = values.copy()
    return adata


def write_inputs(folder: Path) -> dict[str, Path]:
    """Write the files that the jobs read; the queries are A+B and C, of which the stored prediction answers A+B."""
    everything = ["control", "A", "B", "A+B", "C"]
    unsorted = make_means(["control", "A", "B"])
    # Row 0 holds the same values as in the dense matrix, its columns in descending order.
    columns, ends = [3, 2, 1, 0, 0, 1, 2, 3, 0, 1, 2, 3], [0, 4, 8, 12]
    values = [unsorted.X[i // 4, j] for i, j in enumerate(columns)]
    unsorted.X = sparse.csr_matrix((values, columns, ends), shape=(3, 4))
    files = {
        "dataset": make_means(everything), "train": make_means(["control", "A", "B"]), "val": make_means(["D"]),
        "unsorted": unsorted, "prediction": make_prediction({"A+B": np.arange(4) / 2}, [*"ABCD"]),
    }  # fmt: skip
    for name, adata in files.items():
        canonical.write(adata, folder / f"{name}.h5ad")
    parts = {"train": ["control", "A", "B"], "val": ["D"], "test": ["A+B", "C"]}
    (folder / "split.json").write_text(json.dumps(parts))
    (folder / "side.txt").write_text("a side file")
    write_embedding(pd.DataFrame({"x": np.arange(4.0)}, index=[*"ABCD"]), folder / "slot.h5ad")
    paths = {name: folder / f"{name}.h5ad" for name in files}
    return {**paths, "split": folder / "split.json", "pseudobulk": paths["dataset"], "source": paths["dataset"]}


ROLES = {
    "predictions": ("train", "val", "split"), "datasets": ("source",), "embeddings": ("train", "split"),
    "scores": ("pseudobulk", "split", "prediction"),
}  # fmt: skip
L2 = MetricOffer(id="l2", direction="lower", best=0.0)


def make_job(hook: str, name: str, inputs: dict[str, Path], module: str = "plugin_zoo") -> Job:
    stage: Any = STAGES[hook]
    files = {role: inputs[role] for role in ROLES[stage]}
    if "sparse" in name:
        files["train"] = inputs["unsorted"]
    offer = ScorerOffer(name=name, summary="", metrics=(L2,)).model_dump(mode="json")
    if stage == "predictions":
        files["weights/side.txt"] = inputs["split"].with_name("side.txt")
    options: dict[str, dict[str, Any]] = {
        "datasets": {"dataset": "tiny"}, "embeddings": {"kind": "gene"}, "predictions": {"score_on": ["test"]},
        "scores": {"score_on": ["test"], "offer": offer},
    }  # fmt: skip
    embeddings = {"G": inputs["split"].with_name("slot.h5ad")} if stage == "predictions" else {}
    return Job(
        key=f"{hook}-{name}", stage=stage, plugin=PluginRef(name="zoo", module=module, version="1"), name=name,
        inputs=files, options=options[stage], params={"k": 1}, references={"other": inputs["dataset"]},
        embeddings=embeddings, task=Task(dataset="tiny", name="double", split_kind="file", split_seed=0),
    )  # fmt: skip


CASES = [(hook, name) for hook, faults in HOOKS.items() for name in faults]
GOOD = [(hook, "good") for hook in HOOKS] + [("fit", name) for name in ("reads_sparse", "writes_train")]
GOOD.append(("predict", "a_little_below_0"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All jobs done by one call of the worker's main, each in its folder."""
    folder = tmp_path_factory.mktemp("guard")
    inputs = write_inputs(folder)
    (folder / "plugin_zoo.py").write_text(zoo_source())
    (folder / "plugin_no_hooks.py").write_text("import pertharness as p\n@p.hookimpl\ndef describe(): pass\n")
    (folder / "plugin_twins.py").write_text(
        "from pertharness import *\none = DatasetOffer(name='one', summary='')\n"
        "@hookimpl\ndef describe(): return Card(datasets=(one, one))\n"
    )
    jobs = [make_job(hook, name, inputs) for hook, name in [*CASES, *GOOD]]
    jobs += [make_job(hook, "absent", inputs, "plugin_no_hooks") for hook in HOOKS]
    jobs.append(Job(key="twins", stage="cards", plugin=PluginRef(name="zoo", module="plugin_twins", version="1")))
    for job in jobs:
        (folder / job.key).mkdir()
        (folder / job.key / "job.json").write_text(job.model_dump_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        assert main([str(folder / job.key / "job.json") for job in jobs]) == 0
        yield folder


def test_values_below_0_are_counted_in_a_note(folder: Path) -> None:
    claim = read_claim(folder, "predict-a_little_below_0")
    assert claim.state == "done", claim.message
    assert claim.notes == ["2 of 8 values are below 0 (lowest: -0.25 for the query 'C', gene 'B')"]
    assert read_claim(folder, "predict-good").notes == []


def read_claim(folder: Path, key: str) -> Claim:
    return Claim.model_validate_json((folder / key / "out" / "result.json").read_bytes())


@pytest.mark.parametrize(("hook", "name"), CASES, ids=[f"{hook}-{name}" for hook, name in CASES])
def test_a_broken_contract_is_invalid_and_says_what_broke_it(folder: Path, hook: str, name: str) -> None:
    claim = read_claim(folder, f"{hook}-{name}")
    assert (claim.state, claim.type) == ("invalid", "ContractError"), claim.message
    assert claim.message.startswith(f"plugin 'zoo', hook {hook}({name!r}): ")
    for words in HOOKS[hook][name][1]:
        assert words in claim.message


@pytest.mark.parametrize(("hook", "name"), CASES, ids=[f"{hook}-{name}" for hook, name in CASES])
def test_what_broke_a_contract_leaves_no_number(folder: Path, hook: str, name: str) -> None:
    left = {path.name for path in (folder / f"{hook}-{name}" / "out").iterdir()}
    assert left == {"result.json", "log.txt"}
    assert read_claim(folder, f"{hook}-{name}").artefacts == []


@pytest.mark.parametrize(("hook", "name"), GOOD, ids=[f"{hook}-{name}" for hook, name in GOOD])
def test_a_plugin_that_keeps_the_contracts_is_done(folder: Path, hook: str, name: str) -> None:
    claim = read_claim(folder, f"{hook}-{name}")
    assert (claim.state, claim.message) == ("done", "")


@pytest.mark.parametrize("hook", HOOKS)
def test_an_offer_without_its_hook_is_invalid(folder: Path, hook: str) -> None:
    claim = read_claim(folder, f"{hook}-absent")
    missing = {"predict": "fit"}.get(hook, hook)  # the first of the two that the job needs
    assert claim.state == "invalid"
    assert f"plugin 'zoo' offers 'absent' but has no hook {missing!r}" in claim.message


def test_a_card_with_two_offers_of_one_name_is_invalid(folder: Path) -> None:
    claim = read_claim(folder, "twins")
    assert claim.state == "invalid"
    assert "hook describe()" in claim.message
    assert "duplicate name 'one' in the card's datasets" in claim.message


def test_nothing_is_written_outside_the_job_folder(folder: Path) -> None:
    assert not list(folder.parent.rglob("evil*"))


@pytest.mark.parametrize(
    ("level", "perturbation", "message"),
    [("perturbation", "", "names no perturbation; its level is 'perturbation'"), ("task", "A", "names a perturbation")],
)
def test_a_score_of_another_level_is_refused(level: Any, perturbation: str, message: str) -> None:
    metric = MetricOffer(id="m", level=level, direction="lower", best=0.0)
    row = {"perturbation": perturbation, "gene": "", "metric": "m", "variant": "default", "coordinate": ""}
    table = pd.DataFrame([{**row, "value": 1.0}])
    with pytest.raises(ContractError, match=message):
        check_scores(table, ScorerOffer(name="m", summary="m", metrics=(metric,)), ["A"], "mine")


@pytest.mark.parametrize(
    ("table", "how", "message"),
    [
        ({"model": ["x"]}, {}, "has a column 'model', which the harness adds"),
        ({"x": [1.0]}, {"largest": ("y", 5)}, "has no column 'y'"),
        ({"x": ["a"]}, {"largest": ("x", 5)}, "has no numbers"),
        ({"x": [1.0]}, {"count": ("seed", "class")}, "has no column 'class'"),
    ],
)
def test_a_table_that_cannot_be_joined_is_refused(table: Any, how: Any, message: str) -> None:
    offer = ScorerOffer(name="m", summary="m", tables=(TableOffer(name="t", level="entry", **how),))
    given = Scores(pd.DataFrame(columns=list(COLUMNS)), {"t": pd.DataFrame(table)})
    with pytest.raises(ContractError, match=message):
        check_artefacts(given, offer, "mine")
