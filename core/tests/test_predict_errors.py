"""The errors beside a prediction: which tasks are done, and what the leaderboard's row means."""

import math
from typing import Any

import pytest
from pertharness import MetricOffer, ModelOffer, ScorerOffer
from pertharness.host.plugins.registry import Offered, Registry
from pertharness.host.run.prediction_errors import as_frame, errors_of, errors_recipe, tasks_posed

HELD = "held-out doubles of this screen"
DATASET = {"screen": {"offer": "demo"}}


def registry(metric: str = "l2") -> Registry:
    usual: dict[str, Any] = {"summary": "", "tasks": ("double",), "input": "pseudobulk", "information": "training"}
    plugin: Any = None
    offer = ScorerOffer(name="s", summary="", metrics=(MetricOffer(id=metric, direction="lower", best=0.0),))
    models = {name: Offered(plugin, ModelOffer(name=name, **usual)) for name in ("linear", "mean", "additive")}
    return Registry(models=models, scorers={"s": Offered(plugin, offer)})


def row(model: str, **fields: str) -> dict[str, str]:
    usual = {"task": "double", "model": model, "params": "", "value": "2.5", "n": "12", "verdict": "", "note": "",
             "state": "done"}  # fmt: skip
    return {**usual, **fields}


@pytest.mark.parametrize(
    ("queries", "tasks"),
    [
        (["A"], ["single"]),
        (["A+B", "C"], ["single", "double"]),
        (["A+B", "A+C", "A+B+C"], ["double"]),
        (["A+B+C"], []),
    ],
)
def test_only_the_tasks_that_queries_pose_are_done(queries: list[str], tasks: list[str]) -> None:
    assert tasks_posed(queries) == tasks


def test_the_benchmark_has_the_model_and_the_references_once_each() -> None:
    recipe = errors_recipe(DATASET, "additive", ["single", "double"], registry(), "1-3", {"jobs": 2})
    assert recipe is not None
    assert [spec.text() for spec in recipe.models or ()] == ["additive", "mean"]
    assert [(task.name, task.split.kind, task.reference) for task in recipe.tasks] == [
        ("single", "unseen", "mean"), ("double", "double", "additive"),
    ]  # fmt: skip
    assert (recipe.seeds, recipe.resources.jobs) == ((1, 2, 3), 2)
    assert errors_recipe(DATASET, "linear", ["single"], registry("other"), None, {}) is None


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        ("better", f"On {HELD}, linear[k=4] is more accurate than additive."),
        ("worse", f"On {HELD}, linear[k=4] is less accurate than additive; use additive."),
        ("undecided", f"On {HELD}, linear[k=4] is not clearly better or worse than additive."),
        ("", f"linear[k=4] and additive cannot be compared on {HELD} (12 scored)."),
    ],
)  # fmt: skip
def test_a_verdict_becomes_a_sentence(verdict: str, sentence: str) -> None:
    rows = [row("linear", params="k=4", verdict=verdict), row("additive", value="3.5"), row("linear", task="single")]
    errors = errors_of("double", "additive", "linear[k=4]", rows)
    assert (errors.l2, errors.reference_l2, errors.n, errors.sentence) == (2.5, 3.5, 12, sentence)


def test_what_was_not_scored_is_said_with_its_reason_and_is_no_number() -> None:
    errors = errors_of("double", "additive", "linear", [row("linear", value="", n="0", note="no GPU"), row("additive")])
    assert math.isnan(errors.l2)
    assert errors.sentence == "linear was not scored on held-out doubles of this screen (no GPU)."
    absent = errors_of("double", "additive", "linear", [])
    assert math.isnan(absent.l2)
    assert math.isnan(absent.reference_l2)
    assert list(as_frame([errors, absent])["n"]) == [0, 0]
