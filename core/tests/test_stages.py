"""The stages, from a file of cells to scores, as a run carries them out: each job in a worker of its own plugin."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import Card, DatasetOffer, EmbeddingOffer, MetricOffer, ModelOffer, RemoteFile, ScorerOffer
from pertharness.contract.jobs import PluginRef, Status
from pertharness.data import canonical
from pertharness.data.expression import layers_of
from pertharness.files.whole import sha256_file
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Outcome
from pertharness.host.execution.runner import Runner
from pertharness.host.plan import Attempt, Plan, Source, build_plan, plan_selected
from pertharness.host.plugins.registry import Offered, Plugin, Registry
from pertharness.host.recipe import Recipe
from pertharness.host.store.records import Store
from scipy import sparse

GENES = ["A", "B", "C", "D", "NA"]
TRAIN = {"control": 11, "A": 5, "B": 7}
# What no model may see: label -> number of cells, expression of all genes, counts of all genes, total counts of a cell.
HELD_OUT = {
    "C": (1237, 2.7182817, 911, 7919), "A+B": (1009, 3.1415927, 919, 7907), "D": (1051, 1.4142135, 929, 7901),
}  # fmt: skip
SEEN = 1.6180340
"""Expression of a training cell: what a search has to find, so that it proves something."""
HALVES = {"half_a": 0.0765432, "half_b": 0.0543219}
"""What halves of means are off by, in a dataset that brings them."""
SPLIT = {"train": ["A", "B"], "val": ["D"], "test": ["C", "A+B"]}
ANSWER = """
import os, pathlib
import numpy as np, pandas as pd, pertharness as p
from pertharness.data import canonical
from pertharness.contract.scores import COLUMNS

@p.hookimpl
def describe():
    return p.Card.model_validate_json(pathlib.Path(__file__).with_name("card.json").read_text())

@p.hookimpl
def load_dataset(name, source, params):
    adata = canonical.read(source)
    adata.uns["pertharness"]["notes"] = "read as it is\\nwith care"
    return adata

@p.hookimpl
def embed(name, labels):
    labels = [label for label in labels if label != "D"]
    return pd.DataFrame({"x": [(i + 1) / 3 for i in range(len(labels))], "y": 0.1}, index=labels)

@p.hookimpl
def fit(name, train, val, embeddings, task, workdir):
    print("cwd", pathlib.Path.cwd() == workdir, workdir)
    print("val", None if val is None else sorted(set(val.obs["perturbation"])))
    for slot, table in embeddings.items():
        print(slot, {label: [value.hex() for value in row] for label, row in zip(table.index, table.to_numpy())})
    (workdir / "checkpoint").write_text("half")
    if name.startswith("spy"):
        import spy
        spy.report(train, val, task, embeddings, workdir)
    return task

@p.hookimpl
def predict(name, model, controls, queries, oracle, task, workdir):
    y0 = p.control_mean(controls)
    if oracle is not None:
        oracle.X.data[:2] += int(name == "seeing_and_changing")
        print("oracle", list(oracle.obs), oracle.shape, len(oracle.X.data), sorted(set(oracle.obs["perturbation"])))
    elif name.startswith("seeing"):
        raise ValueError("no oracle")
    if name != "partial":
        if name.startswith("spy"):
            import spy
            spy.report(controls, queries, oracle, task, workdir)
        return p.make_prediction({query: y0 for query in queries}, controls.var_names)
    y0[-1] = np.nan
    prediction = p.make_prediction({"A+B": y0}, controls.var_names, {"C": "never saw C"})
    prediction.uns["missing_genes"] = {"NA": "has no name"}
    prediction.uns["notes"] = ["B was left aside"]
    prediction.obs["mine"], prediction.layers["mine"] = 1, prediction.X
    return prediction

@p.hookimpl
def score(name, truth, prediction, controls):
    gaps = np.abs(prediction.X - truth[list(prediction.obs["perturbation"])].X).mean(axis=1)
    rows = [(label, "", "gap", "default", "", gap) for label, gap in zip(prediction.obs["perturbation"], gaps)]
    return p.Scores(pd.DataFrame(rows, columns=list(COLUMNS)), {"controls": controls.to_df()})
"""
SPY = '''
import json, os
from collections.abc import Mapping
from pathlib import Path
import h5py, numpy as np, pandas as pd
from anndata import AnnData

def report(*given):
    """Print every number and text that can be reached from what a model is given, from its folder and its job file."""
    numbers, texts, files = set(), set(), set()

    def look(x):
        if isinstance(x, AnnData):
            for part in ("X", "obs", "var", "uns", "obsm", "varm", "obsp", "varp", "layers", "raw", "shape"):
                look(getattr(x, part))
        elif hasattr(x, "indptr"):
            look([x.data, x.shape])
        elif isinstance(x, pd.DataFrame):
            look([x.index, list(x.columns), *(x[column] for column in x.columns)])
        elif isinstance(x, pd.Series) and isinstance(x.dtype, pd.CategoricalDtype):
            look([list(x), list(x.cat.categories)])
        elif isinstance(x, (bytes, np.bytes_)):
            look(x.decode("utf-8", "replace"))
        elif isinstance(x, (str, Path)):
            texts.add(str(x))
            if str(x).startswith("/") and Path(x).is_file() and str(x) not in files:
                files.add(str(x))
                read(Path(x))
        elif isinstance(x, (int, float, np.number)):
            numbers.add(float(x))
        elif isinstance(x, Mapping) or hasattr(x, "items"):
            for key, value in x.items():
                look([key, value])
        elif hasattr(x, "model_dump"):
            look(x.model_dump())
        elif isinstance(x, np.ndarray) and x.dtype.names:
            look([x[name] for name in x.dtype.names])
        elif hasattr(x, "__iter__"):
            for value in (x.ravel().tolist() if isinstance(x, np.ndarray) else x):
                look(value)

    def read(path):
        if path.suffix == ".h5ad":
            with h5py.File(path) as file:
                file.visititems(lambda name, x: look([name, dict(x.attrs), x[()] if hasattr(x, "dtype") else 0]))
        elif path.suffix == ".json":
            look(json.loads(path.read_text()))

    look(given)
    look([path for path in Path.cwd().parent.rglob("*")])
    found = {"numbers": sorted(numbers), "texts": sorted(texts), "files": sorted(files)}
    print("SPY", json.dumps({**found, "environment": dict(os.environ)}))
'''


def make_cells() -> AnnData:
    """Return the dataset: training cells with multiples of 1/8, and one value apart; then the held-out ones."""
    blocks, labels, counts, totals = [], [], [], []
    for label, n in TRAIN.items():
        blocks.append(np.add.outer(np.arange(n) % 4, np.arange(5)) / 8)
        labels += [label] * n
        counts += [3] * n
        totals += [50.0] * n
    blocks[1][0, 0] = SEEN
    for label, (n, value, count, total) in HELD_OUT.items():
        blocks.append(np.full((n, 5), value))
        labels += [label] * n
        counts += [count] * n
        totals += [float(total)] * n
    categories = pd.Categorical(labels)
    obs = pd.DataFrame({"perturbation": categories, "label_given": categories, "total_counts": totals})
    obs.index = pd.Index([f"cell{i}" for i in range(len(obs))], dtype=object)
    fields = {"name": "x", "level": "cells", "scale": canonical.SCALE, "origin": "made here", "modality": "ko"}
    adata = AnnData(
        X=sparse.csr_matrix(np.vstack(blocks).astype(np.float32)), obs=obs, var=pd.DataFrame(index=GENES),
        uns={"pertharness": fields, "held_out": {"C": 1237}},
    )  # fmt: skip
    adata.layers["counts"] = sparse.csr_matrix(np.repeat(np.array(counts, dtype=np.float32)[:, None], 5, axis=1))
    return adata


def make_registry(folder: Path) -> Registry:
    """Return a registry of one plugin, in an interpreter that finds it as one of an environment finds its own."""
    (folder / "plugin_toy.py").write_text(ANSWER)
    (folder / "spy.py").write_text(SPY)
    python = folder / "python"
    run = "from pertharness.worker.main import main; sys.exit(main(sys.argv[6:]))"
    find = f"import sys; sys.path.insert(0, {str(folder)!r})"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{find}; {run}" "$@"\n')
    python.chmod(0o755)
    toy = Plugin(PluginRef(name="toy", module="plugin_toy", version="1"), python, "source", "environment")
    usual: dict[str, Any] = {"tasks": ("double", "single"), "summary": "", "information": "training", "cheap": True}
    models = [
        ModelOffer(name="partial", input="pseudobulk", **usual),
        ModelOffer(name="selecting", input="pseudobulk", uses_validation=True, **usual),
        ModelOffer(name="coded", input="pseudobulk", slots={"G": "gene"}, **usual),
        ModelOffer(name="spy_cells", input="cells", **usual),
        ModelOffer(name="spy_means", input="pseudobulk", **usual),
        ModelOffer(name="spy_grid", input="pseudobulk", params={"level": 0}, **usual),
    ]
    usual |= {"information": "oracle", "oracle": "target_expression", "input": "pseudobulk"}
    weights = (RemoteFile(url="https://example.org/genes.txt", filename="genes.txt"),)
    models += [
        ModelOffer(name="seeing", **usual),
        ModelOffer(name="seeing_and_changing", **usual),
        ModelOffer(
            name="seeing_listed", weights=weights, gene_list="genes.txt", params={"genes": ""}, file_params=("genes",),
            replaces_weights={"genes": ("genes.txt",)}, **usual,
        ),
    ]  # fmt: skip
    (folder / "card.json").write_text(Card(models=tuple(models)).model_dump_json())
    gap = MetricOffer(id="gap", direction="lower", best=0.0)
    return Registry(
        plugins={"toy": toy, "datasets": toy},
        datasets={"toy": Offered(toy, DatasetOffer(name="toy", summary="", takes_file=True))},
        embeddings={"codes": Offered(toy, EmbeddingOffer(name="codes", summary="", kinds=("gene",)))},
        models={model.name: Offered(toy, model) for model in models},
        scorers={"gap": Offered(toy, ScorerOffer(name="gap", summary="", metrics=(gap,)))},
    )


@dataclass(frozen=True)
class Run:
    """A run that was carried out."""

    store: Store
    plan: Plan
    outcomes: dict[str, Outcome]

    def attempt(self, model: str) -> Attempt:
        return next(attempt for attempt in self.plan.attempts if attempt.model == model)

    def record(self, model: str) -> Path:
        return self.store.record("predictions", self.attempt(model).prediction)

    def status(self, model: str) -> Status:
        status = self.store.status("predictions", self.attempt(model).prediction)
        assert status is not None
        assert status.state == "done", status.message
        return status

    def scores(self, model: str) -> Path:
        return self.store.record("scores", self.attempt(model).scores["gap"])


def make_halved_means() -> AnnData:
    """Return the dataset as means that come with halves of their own: of every perturbation, and off by `HALVES`."""
    means = canonical.pseudobulk(make_cells())
    for name, off in HALVES.items():
        means.layers[name] = np.asarray(means.X) + off
    return means


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run that calibrates, of cells."""
    models = ("partial", "selecting", "coded[G=embed:codes]", "spy_cells", "spy_means", "spy_grid[level=1|2]")
    return carry_out(tmp_path_factory.mktemp("stages"), make_cells(), models)


@pytest.fixture(scope="module")
def run_of_means(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run that calibrates, of means with halves."""
    return carry_out(tmp_path_factory.mktemp("means"), make_halved_means(), ("partial", "selecting", "spy_means"))


def carry_out(folder: Path, adata: AnnData, models: tuple[str, ...]) -> Run:
    """Plan and run."""
    canonical.write(adata, folder / "cells.h5ad")
    (folder / "split.json").write_text(json.dumps(SPLIT))
    elsewhere = AnnData(X=np.full((1, 2), 0.5), obs=pd.DataFrame({"perturbation": ["B+A"]}, index=["0"]))
    elsewhere.var_names = ["B", "A"]
    elsewhere.write_h5ad(folder / "elsewhere.h5ad")
    recipe = Recipe.model_validate(
        {
            "datasets": {"tiny": {"offer": "toy", "file": folder / "cells.h5ad"}},
            "models": models,
            "comparison": {"calibrate": True},
            "tasks": ({"name": "double", "split": {"kind": "file", "file": folder / "split.json"}},),
            "predictions": ({"name": "elsewhere", "file": folder / "elsewhere.h5ad"},),
        }
    )
    store, registry = Store.open(folder / "store"), make_registry(folder)
    sources = {"tiny": Source(folder / "cells.h5ad", sha256_file(folder / "cells.h5ad"))}
    executor = local_executor(store.root, isolation="none")  # the interpreter is a script
    plan = build_plan(recipe, registry, store, sources, executor)
    runner = Runner(store, executor)
    outcomes = runner.run(plan.nodes.values())
    return Run(store, plan, runner.run(plan_selected(plan, outcomes, store)))


@pytest.fixture(scope="module")
def seeing_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with models that are given an oracle, and with two spies that are not."""
    folder = tmp_path_factory.mktemp("seeing")
    (folder / "genes.txt").write_text("B\nX\nD\n")
    listed = f"seeing_listed[genes={folder / 'genes.txt'}]"
    models = ("seeing", "seeing_and_changing", listed, "spy_cells", "spy_means")
    return carry_out(folder, make_cells(), models)


def read_log(folder: Path) -> list[str]:
    return (folder / "log.txt").read_text().splitlines()


def test_every_job_is_done(run: Run) -> None:
    assert {outcome.message for outcome in run.outcomes.values()} == {""}
    assert {outcome.state for outcome in run.outcomes.values()} == {"done"}


def test_a_dataset_leaves_cells_means_and_a_description(run: Run) -> None:
    folder = run.store.record("datasets", run.plan.datasets["tiny"])
    assert {path.name for path in folder.iterdir()} == {
        "job.json", "status.json", "log.txt", "dataset.h5ad", "pseudobulk.h5ad", "perturbations.csv", "facts.json",
    }  # fmt: skip
    facts = json.loads((folder / "facts.json").read_text())
    assert facts == {"n_obs": 3320, "n_genes": 5, "level": "cells", "modality": "ko", "origin": "made here"}
    table = pd.read_csv(folder / "perturbations.csv", keep_default_na=False)
    expected = TRAIN | {label: row[0] for label, row in HELD_OUT.items()}
    assert dict(zip(table["perturbation"], table["n_cells"], strict=True)) == expected
    status = run.store.status("datasets", run.plan.datasets["tiny"])
    assert status is not None
    assert status.notes == ["read as it is", "with care"]
    assert [phase.name for phase in status.phases] == ["load"]
    assert canonical.read(folder / "pseudobulk.h5ad").uns["pertharness"]["name"] == "tiny"


def test_a_prediction_holds_the_answers_and_nothing_else(run: Run) -> None:
    prediction = canonical.read(run.record("partial") / "prediction.h5ad")
    assert list(prediction.obs["perturbation"]) == ["A+B"]
    assert (list(prediction.obs), list(layers_of(prediction)), list(prediction.uns.get("unanswered", {}))) == (
        ["perturbation"], [], [],
    )  # fmt: skip
    assert list(prediction.var_names) == GENES
    assert prediction.X.dtype == np.float64
    # Control cell i, gene j holds (i % 4 + j) / 8; the residues of 11 cells sum to 3 * (0 + 1 + 2) + 2 * 3 = 15.
    assert prediction.X[0, :4] == pytest.approx([(15 / 11 + j) / 8 for j in range(4)], abs=1e-12)
    assert np.isnan(prediction.X[0, 4])


def test_what_is_not_predicted_is_in_the_status_with_its_reason(run: Run) -> None:
    status = run.status("partial")
    assert status.unanswered == {"C": "never saw C"}
    assert status.notes == ["B was left aside", "1 of 5 genes are not predicted (first: 'NA': has no name)"]
    assert run.status("selecting").unanswered == {}


def test_fit_and_predict_are_measured_in_one_job(run: Run) -> None:
    phases = run.status("partial").phases
    assert [phase.name for phase in phases] == ["fit", "predict"]
    assert all(phase.wall_s > 0 and phase.peak_rss_mb > 10 for phase in phases)


def test_a_model_works_in_a_scratch_folder_that_goes_with_the_job(run: Run) -> None:
    record = run.record("partial")
    _, is_there, place = next(line for line in read_log(record) if line.startswith("cwd")).split(maxsplit=2)
    assert (is_there, place) == ("True", str(run.store.work(record.name) / "scratch"))
    assert {path.name for path in record.iterdir()} == {"job.json", "status.json", "log.txt", "prediction.h5ad"}
    assert not list((run.store.root / "work").iterdir())


@pytest.mark.parametrize(("model", "expected"), [("partial", "val None"), ("selecting", "val ['D']")])
def test_validation_data_go_only_to_a_model_that_says_so(run: Run, model: str, expected: str) -> None:
    assert expected in read_log(run.record(model))
    named = json.loads((run.record(model) / "job.json").read_text())["inputs"]
    assert ("val" in named) == (model == "selecting")


def test_a_model_reads_an_embedding_back_to_the_last_bit(run: Run) -> None:
    labels = ["A", "B", "C", "NA"]  # D was left out
    expected = {label: [((i + 1) / 3).hex(), (0.1).hex()] for i, label in enumerate(labels)}
    assert f"G {expected}" in read_log(run.record("coded"))


def test_an_embedding_says_how_many_labels_it_lacks(run: Run) -> None:
    (node,) = [node for node in run.plan.nodes.values() if node.stage == "embeddings"]
    status = run.store.status("embeddings", node.key)
    assert status is not None
    assert status.notes == ["1 of 5 labels have no embedding"]
    assert list(status.artefacts) == ["embedding.h5ad"]


def test_scores_are_a_table_with_the_scorers_other_tables_beside_it(run: Run) -> None:
    table = pd.read_csv(run.scores("selecting") / "scores.csv", keep_default_na=False).set_index("perturbation")
    assert list(table.index) == ["C", "A+B"]
    # The mean gap to a constant: control means are (15 / 11 + j) / 8, j = 0..4, and j has the mean 2.
    for label, (_, value, _, _) in [(label, HELD_OUT[label]) for label in table.index]:
        assert table.loc[label, "value"] == pytest.approx(value - (15 / 11 + 2) / 8, abs=1e-6)
    assert (run.scores("selecting") / "controls.csv").exists()


def test_a_score_over_a_missing_gene_is_empty_and_an_unanswered_query_has_none(run: Run) -> None:
    rows = (run.scores("partial") / "scores.csv").read_text().splitlines()
    assert rows == ["perturbation,gene,metric,variant,coordinate,value", "A+B,,gap,default,,"]


def test_a_file_of_predictions_is_read_in_place_of_a_model(run: Run) -> None:
    status = run.status("elsewhere")
    prediction = canonical.read(run.record("elsewhere") / "prediction.h5ad")
    assert list(prediction.obs["perturbation"]) == ["A+B"]
    assert np.array_equal(prediction.X[0], [0.5, 0.5, np.nan, np.nan, np.nan], equal_nan=True)
    assert status.unanswered == {"C": "not in the file of predictions"}
    assert status.notes == ["3 of 5 genes are not predicted (first: 'C': not in the file)"]
    assert status.phases == []


def test_a_prediction_is_scored_on_the_parts_that_are_asked_for_alone(run: Run) -> None:
    # A candidate of a grid predicts val, too. The scorer would fail on labels that the truth does not have.
    prediction = canonical.read(run.record("spy_grid") / "prediction.h5ad")
    assert list(prediction.obs["perturbation"]) == ["C", "A+B", "D"]
    [selection] = run.plan.selections
    of_val = run.store.record("scores", selection.candidates[0].val_scores)
    for folder, labels in ((run.scores("spy_grid"), ["C", "A+B"]), (of_val, ["D"])):
        table = pd.read_csv(folder / "scores.csv", keep_default_na=False).set_index("perturbation")
        assert list(table.index) == labels
        for label in labels:
            assert table.loc[label, "value"] == pytest.approx(HELD_OUT[label][1] - (15 / 11 + 2) / 8, abs=1e-6)
    assert set(half_of(run, run.attempt("spy_grid"))) == {"C", "A+B"}
    # Of two equal candidates the first is chosen.
    assert [each.is_chosen for each in selection.candidates] == [True, False]
    assert selection.candidates[0].value == pytest.approx(HELD_OUT["D"][1] - (15 / 11 + 2) / 8, abs=1e-6)


def half_of(run: Run, attempt: Attempt) -> dict[str, float]:
    """Return an attempt's scores against the second half."""
    table = pd.read_csv(run.store.record("scores", attempt.half["gap"]) / "scores.csv", keep_default_na=False)
    return {row.perturbation: float(row.value) for row in table.itertuples() if row.value != ""}


def test_halves_of_cells_lie_in_a_record_of_their_own(run: Run) -> None:
    (node,) = [node for node in run.plan.nodes.values() if node.stage == "halves"]
    halves = canonical.read(run.store.record("halves", node.key) / "halves.h5ad")
    assert dict(halves.obs["n_cells"]) == TRAIN | {label: row[0] for label, row in HELD_OUT.items()}
    for label, (_, value, _, _) in HELD_OUT.items():  # all cells alike: so are the halves, and there is no variance
        assert halves[label].layers["half_a"] == pytest.approx(np.full((1, 5), value), abs=1e-6)
        assert halves[label].layers["variance"] == pytest.approx(np.zeros((1, 5)), abs=1e-9)


def test_duplicate_is_the_first_half_scored_against_the_second(run_of_means: Run) -> None:
    run = run_of_means
    (duplicate,) = run.plan.duplicates
    prediction = canonical.read(run.store.record("predictions", duplicate.prediction) / "prediction.h5ad")
    assert list(prediction.obs["perturbation"]) == ["C", "A+B"]
    off = HALVES["half_a"] - HALVES["half_b"]
    assert half_of(run, duplicate) == pytest.approx({"C": off, "A+B": off}, abs=1e-12)


def test_a_prediction_is_scored_against_the_second_half_besides(run_of_means: Run) -> None:
    whole = pd.read_csv(run_of_means.scores("selecting") / "scores.csv").set_index("perturbation")["value"]
    half = half_of(run_of_means, run_of_means.attempt("selecting"))
    # The control mean is below all held-out values, so the half's surplus adds to the gap.
    assert half == pytest.approx({label: value + HALVES["half_b"] for label, value in whole.items()}, abs=1e-12)
    names = {
        path.name
        for path in run_of_means.store.record("scores", run_of_means.attempt("selecting").half["gap"]).iterdir()
    }
    assert "controls.csv" not in names  # tables are those of the whole


def test_halves_that_come_with_the_data_reach_no_model(run_of_means: Run) -> None:
    record = run_of_means.record("spy_means")
    numbers, _ = found_by(read_log(record))
    job = json.loads((record / "job.json").read_text())
    content = [Path(path).read_bytes() for path in job["inputs"].values()]
    for _, value, _, _ in HELD_OUT.values():
        for secret in (float(np.float32(value)) + off for off in (0.0, *HALVES.values())):
            assert not [number for number in numbers if math.isclose(number, secret, rel_tol=1e-5)]
            assert not [data for data in content if struct.pack("<d", secret) in data]
    assert not [data for data in content if b"half_a" in data or b"half_b" in data]


def test_no_job_of_a_plugins_model_names_a_record_of_halves(run: Run, run_of_means: Run) -> None:
    for each in (run, run_of_means):
        for node in each.plan.nodes.values():
            named = [*node.job.inputs.values(), *node.job.references.values(), *node.job.embeddings.values()]
            reads = any(path.parent.parent.name == "halves" for path in named)
            assert not reads or node.stage == "scores" or node.job.plugin.name == "pertharness"


def held_out_numbers() -> list[float]:
    """Return expression, counts, totals and cell numbers of what is held out, and sums that would tell them."""
    numbers = [float(x) for row in HELD_OUT.values() for x in row]
    tested, all_held, train = 1237 + 1009, 1237 + 1009 + 1051, sum(TRAIN.values())
    return [*numbers, tested, all_held, tested + train, all_held + train]


def found_by(log: list[str]) -> tuple[set[float], set[str]]:
    """Return all numbers and files that a spy found: in data, in texts, and in what was put into its environment."""
    numbers: set[float] = set()
    files: set[str] = set()
    for line in log:
        if line.startswith("SPY "):
            report = json.loads(line.removeprefix("SPY "))
            added = [value for name, value in report["environment"].items() if os.environ.get(name) != value]
            words = [word for text in [*report["texts"], *added] for word in re.split(r"[^0-9A-Za-z.]+", text)]
            numbers |= {*report["numbers"], *(float(word) for word in words if re.fullmatch(r"\d+(\.\d+)?", word))}
            files |= set(report["files"])
    return numbers, files


@pytest.mark.parametrize("model", ["spy_cells", "spy_means", "spy_grid"])
def test_a_spy_finds_neither_held_out_expression_nor_the_number_of_held_out_cells(run: Run, model: str) -> None:
    numbers, files = found_by(read_log(run.record(model)))
    for secret in held_out_numbers():
        assert not [number for number in numbers if math.isclose(number, secret, rel_tol=1e-5)]
    # The search is worth something: it read the job's files, and found what is given.
    assert {Path(file).name for file in files} >= {"job.json", "train.h5ad", "split.json"}
    assert sum(TRAIN.values() if model == "spy_cells" else [1, 1, 1]) in numbers
    assert any(math.isclose(number, SEEN if model == "spy_cells" else 11, rel_tol=1e-6) for number in numbers)


@pytest.mark.parametrize("model", ["spy_cells", "spy_means", "spy_grid"])
def test_no_file_that_a_job_names_holds_a_held_out_value_in_any_byte(run: Run, model: str) -> None:
    job = json.loads((run.record(model) / "job.json").read_text())
    content = {role: Path(path).read_bytes() for role, path in job["inputs"].items()}
    assert set(content) == {"train", "split"}
    for _, value, count, total in HELD_OUT.values():
        for number in (float(np.float32(value)), count, total):
            for code in ("<f", "<d"):
                assert not [role for role, data in content.items() if struct.pack(code, number) in data]
    assert (struct.pack("<f", SEEN) in content["train"]) == (model == "spy_cells")


def test_a_model_that_declares_an_oracle_is_given_the_targets_of_held_out_cells(seeing_run: Run) -> None:
    n_cells = HELD_OUT["C"][0] + HELD_OUT["A+B"][0]
    facts = ["total", "smallest", "detected"]
    for model, columns in (
        ("seeing", facts), ("seeing_listed (test weights)", [*facts, *(f"{name}_listed" for name in facts)]),
    ):  # fmt: skip
        assert seeing_run.status(model).state == "done"
        [line] = [line for line in read_log(seeing_run.record(model)) if line.startswith("oracle")]
        # Each cell of C stores one value, each of A+B two.
        n_values = HELD_OUT["C"][0] + 2 * HELD_OUT["A+B"][0]
        assert line == f"oracle {['perturbation', *columns]} {(n_cells, 3)} {n_values} {['A+B', 'C']}"


def oracle_of(run: Run, model: str) -> AnnData:
    """Return the oracle that the job of a model names."""
    job = json.loads((run.record(model) / "job.json").read_text())
    return canonical.read(Path(job["inputs"]["oracle"]))


def test_totals_are_computed_over_all_genes_and_those_of_the_list(seeing_run: Run) -> None:
    oracle = oracle_of(seeing_run, "seeing_listed (test weights)")
    assert oracle.uns["pertharness"]["level"] == "cells"
    for label in ("C", "A+B"):
        value = np.float64(np.float32(HELD_OUT[label][1]))
        rows = oracle.obs[oracle.obs["perturbation"] == label]
        for suffix, n_genes in (("", 5), ("_listed", 2)):  # of the list B and D are measured
            assert rows[f"total{suffix}"].to_numpy() == pytest.approx(n_genes * np.expm1(value), rel=1e-14)
            assert set(rows[f"smallest{suffix}"]) == {np.float32(value)}
            assert set(rows[f"detected{suffix}"]) == {n_genes}


def test_a_model_that_changes_its_oracle_is_invalid(seeing_run: Run) -> None:
    attempt = seeing_run.attempt("seeing_and_changing")
    outcome = seeing_run.outcomes[attempt.prediction]
    assert (outcome.state, "changed 'oracle'; work on a copy" in outcome.message) == ("invalid", True), outcome.message


def test_the_record_of_a_model_has_the_sum_of_its_oracle(seeing_run: Run) -> None:
    job = json.loads((seeing_run.record("seeing") / "job.json").read_text())
    assert seeing_run.status("seeing").inputs["oracle"] == sha256_file(Path(job["inputs"]["oracle"]))
    assert Path(job["inputs"]["oracle"]).parent.name == job["key_parts"]["inputs"]["oracle"]


def test_the_oracle_is_the_only_file_of_a_models_job_with_anything_of_held_out_cells(seeing_run: Run) -> None:
    secrets = [float(np.float32(row[1])) for row in HELD_OUT.values()]
    secrets += [float(number) for row in HELD_OUT.values() for number in (row[0], row[2], row[3])]
    secrets += [5 * math.expm1(np.float32(row[1])) for row in HELD_OUT.values()]
    seen, told = set(), 0
    for node in seeing_run.plan.nodes.values():
        if node.stage not in ("predictions", "embeddings") or node.job.plugin.name != "toy":
            continue
        for role, path in node.job.inputs_by_role().items():
            numbers = numbers_in(path)
            hits = [secret for secret in secrets if np.isclose(numbers, secret, rtol=1e-6).any()]
            assert not hits or (role == "oracle" and node.job.name.startswith("seeing")), (node.title, role, hits)
            seen.add(role)
            told += bool(hits)
    assert seen >= {"train", "split", "oracle"}
    assert told == 3  # so the search finds what is there


def numbers_in(path: Path) -> np.ndarray:
    """Return every number in a file, and the sizes of its arrays."""
    if path.suffix != ".h5ad":
        return np.array([float(word) for word in re.findall(r"\d+\.?\d*", path.read_text())])
    numbers: list[Any] = [[]]

    def look(_: str, element: Any) -> None:
        if isinstance(element, h5py.Dataset) and element.dtype.kind in "fiu":
            numbers.extend([np.ravel(element[()]), element.shape])

    with h5py.File(path) as file:
        file.visititems(look)
    return np.unique(np.concatenate([np.asarray(each, dtype=float) for each in numbers]))


def test_no_job_but_those_of_models_that_declare_it_names_an_oracle(seeing_run: Run, run: Run) -> None:
    readers = set()
    for each in (seeing_run, run):
        for node in each.plan.nodes.values():
            if any(path.name == "oracle.h5ad" for path in node.job.inputs_by_role().values()):
                readers.add((node.stage, node.job.name))
    assert readers == {("predictions", name) for name in ("seeing", "seeing_and_changing", "seeing_listed")}


def test_spies_beside_models_with_an_oracle_find_nothing_of_it(seeing_run: Run) -> None:
    for model in ("spy_cells", "spy_means"):
        numbers, files = found_by(read_log(seeing_run.record(model)))
        assert not [
            secret for secret in held_out_numbers() if any(math.isclose(x, secret, rel_tol=1e-5) for x in numbers)
        ]
        assert not [file for file in files if "oracle" in file]


def test_models_with_one_gene_list_share_an_oracle(seeing_run: Run) -> None:
    used = {
        model: json.loads((seeing_run.record(model) / "job.json").read_text())["inputs"]["oracle"]
        for model in ("seeing", "seeing_and_changing", "seeing_listed (test weights)")
    }
    assert used["seeing"] == used["seeing_and_changing"] != used["seeing_listed (test weights)"]


def test_a_job_that_names_an_oracle_for_a_model_that_declares_none_is_invalid(seeing_run: Run) -> None:
    nodes = seeing_run.plan.nodes
    honest, seeing = (nodes[seeing_run.attempt(model).prediction] for model in ("spy_means", "seeing"))
    inputs = {**honest.job.inputs, "oracle": seeing.job.inputs["oracle"]}
    job = honest.job.model_copy(update={"key": "f" * 64, "inputs": inputs})
    runner = Runner(seeing_run.store, local_executor(seeing_run.store.root, isolation="none"))
    ended = runner.run([replace(honest, job=job, needs=(), preflight=None)])[job.key]
    assert ended.state == "invalid"
    assert "the card of 'spy_means' declares no oracle" in ended.message
    assert not [line for line in read_log(seeing_run.store.record("predictions", job.key)) if line.startswith("oracle")]
