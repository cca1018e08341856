"""The job that predicts what a user asks for: fitted to all, kept where the plugin can, and restored elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import DatasetOffer, EmbeddingOffer, ModelOffer
from pertharness.contract.jobs import PluginRef, Status
from pertharness.data import canonical
from pertharness.files.whole import sha256_file
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.runner import Runner
from pertharness.host.plan import Source, build_plan
from pertharness.host.plan.planner import Planner
from pertharness.host.plan.query_jobs import plan_kept, plan_queries
from pertharness.host.plugins.registry import Offered, Plugin, Registry
from pertharness.host.recipe import Recipe, parse_model
from pertharness.host.run.kept_models import read_kept
from pertharness.host.store.records import Store

PLUGIN = """
import json
import pandas as pd, pertharness as p
from pertharness.data import canonical

@p.hookimpl
def load_dataset(source):
    return canonical.read(source)

@p.hookimpl
def embed(labels):
    print("labels", *labels)
    return pd.DataFrame({"x": [float(len(label)) for label in labels]}, index=labels)

@p.hookimpl
def fit(name, train, val, embeddings, task):
    print("fitted to", *sorted(set(train.obs["perturbation"])), val, task.split_kind)
    return {"shift": 0.25, "codes": {slot: list(table.index) for slot, table in embeddings.items()}}

@p.hookimpl
def predict(model, controls, queries, task):
    print("asked", *queries, *model["codes"].get("P", []))
    y0 = p.control_mean(controls)
    known = [query for query in queries if "Z" not in query]
    return p.make_prediction({query: y0 + model["shift"] for query in known}, controls.var_names,
                             {query: "never heard of Z" for query in queries if "Z" in query})
"""
HOOKS = """
@p.hookimpl
def save_model(name, model, folder):
    if name == "unsaved":
        raise RuntimeError("no room")
    if name == "pickled":
        import pickle
        (folder / "m.bin").write_bytes(pickle.dumps(model))
    model["shift"] *= 1
    (folder / "deep").mkdir()
    (folder / "deep" / "m.json").write_text(json.dumps(model))

@p.hookimpl
def load_model(folder, files, device):
    print("restored on", device, dict(files))
    return json.loads((folder / "deep" / "m.json").read_text())
"""
GENES = ["A", "B", "C", "D"]
QUERIES = ("B+A", "A", "D+Z")


@dataclass(frozen=True)
class Bench:
    """A screen, a plugin with these hooks, and a store."""

    folder: Path
    registry: Registry
    store: Store

    def planner(self, model: str) -> Planner:
        file = self.folder / "means.h5ad"
        recipe = Recipe.model_validate(
            {"datasets": {"tiny": {"offer": "toy", "file": file}}, "models": (model,), "tasks": ()}
        )
        executor = local_executor(self.store.root, isolation="none")  # the interpreter is a script
        plan = build_plan(recipe, self.registry, self.store, {"tiny": Source(file, sha256_file(file))}, executor)
        return Planner(recipe, self.registry, self.store, executor, plan)

    def fit(self, model: str, queries: tuple[str, ...] = ("A+B", "A", "D+Z")) -> tuple[str, Status]:
        planner, spec = self.planner(model), parse_model(model)
        key = plan_queries(planner, "tiny", spec, self.registry.models[spec.name], queries)
        return key, self._run(planner, key)

    def restore(self, record: str, queries: tuple[str, ...]) -> tuple[str, Status]:
        planner = self.planner("saving")
        kept = read_kept(self.store, record, self.registry)
        key = plan_kept(planner, kept.files, kept.offered, queries)
        return key, self._run(planner, key)

    def _run(self, planner: Planner, key: str) -> Status:
        outcome = Runner(self.store, planner.executor).run(planner.plan.nodes.values())[key]
        assert outcome.status is not None, outcome.message
        return outcome.status

    def log(self, stage: Any, key: str) -> str:
        return (self.store.record(stage, key) / "log.txt").read_text(encoding="utf-8")

    def means(self, key: str) -> pd.DataFrame:
        prediction = canonical.read(self.store.record("predictions", key) / "prediction.h5ad")
        return pd.DataFrame(prediction.X, index=prediction.obs["perturbation"], columns=prediction.var_names)


def make_bench(folder: Path, source: str) -> Bench:
    folder.mkdir()
    obs = pd.DataFrame({"perturbation": ["control", "A", "B", "C"], "label_given": ["ctrl", "A", "B", "C"]})
    obs.index = pd.Index([f"row{i}" for i in range(4)], dtype=object)
    fields = {"name": "x", "level": "pseudobulk", "scale": canonical.SCALE, "origin": "made here"}
    values = np.arange(16, dtype=float).reshape(4, 4) / 8
    adata = AnnData(X=values, obs=obs, var=pd.DataFrame(index=GENES), uns={"pertharness": fields})
    canonical.write(adata, folder / "means.h5ad")
    (folder / "plugin_toy.py").write_text(source)
    python = folder / "python"
    run = "from pertharness.worker.main import main; sys.exit(main(sys.argv[6:]))"
    find = f"import sys; sys.path.insert(0, {str(folder)!r})"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{find}; {run}" "$@"\n')
    python.chmod(0o755)
    toy = Plugin(PluginRef(name="toy", module="plugin_toy", version="1"), python, "source", "environment")
    usual: dict[str, Any] = {"summary": "", "tasks": ("double", "single"), "information": "training", "cheap": True}
    models = [
        ModelOffer(name=name, input="pseudobulk", slots={"P": "perturbation"}, uses_validation=True, **usual)
        for name in ("saving", "unsaved", "pickled")
    ]
    registry = Registry(
        plugins={"toy": toy, "datasets": toy},
        datasets={"toy": Offered(toy, DatasetOffer(name="toy", summary="", takes_file=True))},
        embeddings={"codes": Offered(toy, EmbeddingOffer(name="codes", summary="", kinds=("perturbation",)))},
        models={model.name: Offered(toy, model) for model in models},
    )
    return Bench(folder, registry, Store.open(folder / "store"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("queries") / "with", PLUGIN + HOOKS)


def test_a_model_is_fitted_to_all_and_kept_and_another_job_restores_it(bench: Bench) -> None:
    key, status = bench.fit("saving")
    assert status.state == "done", status.message
    assert [phase.name for phase in status.phases] == ["fit", "save", "predict"]
    assert sorted(status.artefacts) == ["model.zip", "prediction.h5ad"]
    assert status.unanswered == {"D+Z": "never heard of Z"}
    assert bench.log("predictions", key).splitlines() == ["fitted to A B C control None all", "asked A A+B D+Z"]
    assert bench.means(key).loc["A+B"].tolist() == pytest.approx([0.25, 0.375, 0.5, 0.625], abs=1e-12)

    other, restored = bench.restore(key[:8], ("C", "A+B"))
    assert restored.state == "done", restored.message
    assert [phase.name for phase in restored.phases] == ["restore", "predict"]
    assert sorted(restored.artefacts) == ["prediction.h5ad"]
    assert bench.log("predictions", other).splitlines() == ["restored on cpu {}", "asked A+B C"]
    assert bench.means(other).loc["A+B"].equals(bench.means(key).loc["A+B"])


def test_the_order_of_the_queries_changes_no_key(bench: Bench) -> None:
    planner, spec = bench.planner("saving"), parse_model("saving")
    offered = bench.registry.models["saving"]
    keys = {plan_queries(planner, "tiny", spec, offered, queries) for queries in (["A", "A+B"], ["A+B", "A"])}
    assert len(keys) == 1
    assert plan_queries(planner, "tiny", spec, offered, ["A"]) not in keys


def test_an_embedding_has_rows_for_targets_that_were_never_perturbed(bench: Bench) -> None:
    key, status = bench.fit("saving[P=codes]")
    assert status.state == "done", status.message
    assert bench.log("predictions", key).splitlines()[-1] == "asked A A+B D+Z control A B C D Z"


def test_a_plugin_without_the_hooks_predicts_and_says_that_its_model_is_not_kept(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "without", PLUGIN)
    key, status = bench.fit("saving")
    assert status.state == "done", status.message
    assert sorted(status.artefacts) == ["prediction.h5ad"]
    assert [note for note in status.notes if "cannot save models" in note] == status.notes
    assert "'toy'" in status.notes[0]
    with pytest.raises(Exception, match=f"record {key[:12]} keeps no model"):
        bench.restore(key, ("A",))


def test_a_plugin_with_one_of_the_hooks_is_refused_by_name(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "half", PLUGIN + HOOKS.partition("@p.hookimpl\ndef load_model")[0])
    with pytest.raises(AssertionError, match="plugin 'toy' has the hook 'save_model' but not 'load_model'"):
        bench.fit("saving")


@pytest.mark.parametrize(
    ("model", "state", "message"),
    [("unsaved", "failed", "no room"), ("pickled", "invalid", "wrote 'm.bin' as a pickle")],
)
def test_a_model_that_cannot_be_saved_is_the_plugins_fault(bench: Bench, model: str, state: str, message: str) -> None:
    _, status = bench.fit(model)
    assert status.state == state
    assert message in status.message
    assert status.artefacts == {}
