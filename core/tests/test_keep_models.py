"""Runs that keep fitted models: where the models lie, what is done again for one, and that nothing else changes."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from pertharness.contract.jobs import Status
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.runner import Runner, lacks_model
from pertharness.host.plan.planner import Planner
from pertharness.host.plan.prediction_jobs import model_options, plan_prediction, plan_split
from pertharness.host.recipe import TaskChoice, parse_model
from pertharness.host.store.space import kept_models
from test_predict_stage import HOOKS, PLUGIN, Bench, make_bench

TASK = TaskChoice.model_validate({"name": "single", "dataset": "tiny", "split": {"kind": "unseen", "folds": 3}})


def planned(bench: Bench, *, keep: bool, model: str = "saving") -> tuple[Planner, str]:
    """Plan the prediction of a run, and return its key."""
    planner = bench.planner(model)
    planner = replace(planner, recipe=planner.recipe.model_copy(update={"keep_models": keep}))
    split = plan_split(planner, TASK, 1, "pseudobulk")
    offered = bench.registry.models[model]
    options = model_options(planner, TASK.score_on)
    return planner, plan_prediction(planner, TASK, 1, 1, parse_model(model), offered, split, options)


def done(bench: Bench, *, keep: bool, model: str = "saving") -> tuple[str, Status, bool]:
    """Return key and status of a run's prediction, and whether its job was carried out."""
    planner, key = planned(bench, keep=keep, model=model)
    outcome = Runner(bench.store, planner.executor).run(planner.plan.nodes.values())[key]
    assert outcome.status is not None, outcome.message
    return key, outcome.status, outcome.fresh


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path / "bench", PLUGIN + HOOKS)


def test_a_record_without_a_model_is_made_again_only_where_one_is_asked_for(bench: Bench) -> None:
    key, plain, fresh = done(bench, keep=False)
    assert (fresh, sorted(plain.artefacts)) == (True, ["prediction.h5ad"])
    assert kept_models(bench.store).number == 0
    same, kept, fresh = done(bench, keep=True)
    assert (same, fresh, sorted(kept.artefacts)) == (key, True, ["model.zip", "prediction.h5ad"])
    assert [phase.name for phase in kept.phases] == ["fit", "save", "predict"]
    assert kept.artefacts["prediction.h5ad"].sha256 == plain.artefacts["prediction.h5ad"].sha256
    for keep in (True, False):
        again, status, fresh = done(bench, keep=keep)
        assert (again, fresh, sorted(status.artefacts)) == (key, False, ["model.zip", "prediction.h5ad"])
    space = kept_models(bench.store)
    assert (space.number, space.n_bytes) == (1, kept.artefacts["model.zip"].size)


def test_a_record_stays_where_its_model_cannot_be_fitted_here(bench: Bench) -> None:
    key, plain, _ = done(bench, keep=False)
    planner, same = planned(bench, keep=True)
    nodes = [
        replace(node, preflight=lambda: "needs a CUDA device") if node.key == key else node
        for node in planner.plan.nodes.values()
    ]
    outcome = Runner(bench.store, planner.executor).run(nodes)[same]
    assert (outcome.state, outcome.fresh, outcome.status) == ("done", False, plain)


def test_a_kept_model_names_the_job_that_fitted_it_and_predicts_in_another(bench: Bench) -> None:
    key, status, _ = done(bench, keep=True)
    archive = bench.store.record("predictions", key) / "model.zip"
    with zipfile.ZipFile(archive) as packed:
        assert (packed.comment.decode(), packed.namelist()) == (key, ["deep/m.json"])
    other, restored = bench.restore(key[:8], ("A", "A+B"))
    assert [phase.name for phase in restored.phases] == ["restore", "predict"]
    assert bench.means(other).shape == (2, 4)
    assert status.inputs["train"] == restored.inputs["train"]


def test_a_plugin_that_cannot_save_is_asked_once(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "without", PLUGIN)
    key, _, _ = done(bench, keep=False)
    same, asked, fresh = done(bench, keep=True)
    assert (same, fresh, asked.state) == (key, True, "done")
    assert ["cannot save models" in note for note in asked.notes] == [True]
    assert done(bench, keep=True) == (key, asked, False)


def test_a_model_that_cannot_be_saved_is_the_plugins_fault_where_one_is_asked_for(bench: Bench) -> None:
    assert done(bench, keep=False, model="pickled")[1].state == "done"
    _, status, _ = done(bench, keep=True, model="pickled")
    assert status.state == "invalid"
    assert "wrote 'm.bin' as a pickle" in status.message


def test_a_model_that_nobody_asked_for_is_no_part_of_the_record(tmp_path: Path) -> None:
    source = PLUGIN.replace(
        "def predict(model, controls, queries, task):",
        "def predict(model, controls, queries, task, workdir):\n"
        "    (workdir.parent / 'out' / 'model.zip').write_bytes(b'mine')",
    )
    bench = make_bench(tmp_path / "odd", source)
    key, status, _ = done(bench, keep=False)
    assert (status.state, sorted(status.artefacts)) == ("done", ["prediction.h5ad"])
    assert not (bench.store.record("predictions", key) / "model.zip").exists()


def test_a_record_whose_job_cannot_be_read_lacks_its_model(bench: Bench, tmp_path: Path) -> None:
    planner, key = planned(bench, keep=True)
    node: Node = planner.plan.nodes[key]
    assert lacks_model(node, Status(key=key, state="done"), tmp_path)
    assert not lacks_model(node, Status(key=key, state="failed"), tmp_path)
