"""Grids: how they are written, what is planned for them, and which candidate is chosen."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pertharness.contract.cards import DatasetOffer, EmbeddingOffer, MetricOffer, ModelOffer, ScorerOffer, TableOffer
from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import PluginRef
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.join.collect_scores import join_scores
from pertharness.host.join.costs import join_costs
from pertharness.host.join.reasons import reasons
from pertharness.host.join.selections import join_selections, selection_notes
from pertharness.host.plan import Plan, build_plan, plan_selected
from pertharness.host.plugins.registry import Offered, Plugin, Registry
from pertharness.host.recipe import Recipe, make_recipe, parse_model, parse_models, parse_recipe, recipe_text
from pertharness.host.store.records import Store
from small_run import HEADER, record

# --- how a grid is written


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("linear[k=5|10|20]", ["linear[k=5]", "linear[k=10]", "linear[k=20]"]),
        ("linear[ridge=1|0.1, k=5|10]",
         ["linear[k=5, ridge=1]", "linear[k=10, ridge=1]", "linear[k=5, ridge=0.1]", "linear[k=10, ridge=0.1]"]),
        ("a/m[k=1, x=some words|true]", ['a/m[k=1, x="some words"]', "a/m[k=1, x=true]"]),
        ('m[x="a|b"|c]', ['m[x="a|b"]', "m[x=c]"]),
        ("m[x=[1, 2]|[3]]", ["m[x=[1, 2]]", "m[x=[3]]"]),
        ("m[P=random|spectral:a.csv, k=1]", ["m[P=random, k=1]", "m[P=spectral:a.csv, k=1]"]),
        ("m[P=spectral:a.csv[k=3|5]|embed:identity]",
         ["m[P=spectral:a.csv[k=3]]", "m[P=spectral:a.csv[k=5]]", "m[P=embed:identity]"]),
    ],
)  # fmt: skip
def test_a_grid_is_all_combinations_in_written_order(text: str, candidates: list[str]) -> None:
    spec = parse_model(text)
    assert [each.text() for each in spec.candidates()] == candidates
    assert parse_model(spec.text()) == spec
    assert [each.text() for each in parse_model(spec.text()).candidates()] == candidates


def test_a_text_with_a_bar_in_quotes_is_one_value() -> None:
    spec = parse_model('m[x="a|b", P="table:a|b.csv"]')
    assert not spec.grid
    assert (spec.params["x"], spec.slots["P"].argument) == ("a|b", "a|b.csv")
    assert parse_model(spec.text()) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m[k=5|10|5]", "duplicate value 5 of 'k'"),
        ("m[k=5|5.0]", r"duplicate value 5\.0 of 'k'"),
        ("m[P=random|random]", "duplicate value random of 'P'"),
        ("m[k=5|]", "a value of 'k' .* is empty"),
        ("m[k=|5]", "a value of 'k' .* is empty"),
        ("m[P=random|3]", "P=3 .* is not an embedding"),
        (f"m[a={'|'.join(map(str, range(17)))}, b={'|'.join(map(str, range(16)))}]", "has 272 combinations; .* 256"),
    ],
)
def test_what_is_no_grid_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_model(text)


def test_true_and_one_are_two_values() -> None:
    assert len(parse_model("m[x=true|1]").candidates()) == 2


def test_a_grid_comes_back_from_the_runs_recipe(tmp_path: Path) -> None:
    text = 'models = ["mean", "linear[ridge=1|0.1, k=5|10, P=table:x.csv|random]"]\n[comparison]\nselect = "l2"\n'
    recipe = parse_recipe(text, "r", tmp_path)
    again = parse_recipe(recipe_text(recipe), "r", Path("/elsewhere"))
    assert again == recipe
    assert recipe.models and again.models
    assert [each.text() for each in again.models[1].candidates()] == [
        each.text() for each in recipe.models[1].candidates()
    ]
    assert str(tmp_path / "x.csv") in again.models[1].text()


def test_the_command_line_takes_a_grid_among_other_models() -> None:
    assert [spec.text() for spec in parse_models("mean,linear[k=5|10, ridge=1]")] == ["mean", "linear[ridge=1, k=5|10]"]


def test_a_recipe_without_a_grid_is_written_as_before() -> None:
    assert "select" not in recipe_text(make_recipe({"tasks": [{"split": {"kind": "double"}}]}))


def test_a_scorer_has_no_grid() -> None:
    with pytest.raises(RecipeError, match=r"scorers: .*'l2\[k=1\|2\]' has several values of 'k'"):
        make_recipe({"scorers": ["l2[k=1|2]"]})


# --- what is planned

PLUGIN = Plugin(PluginRef(name="datasets", module="data", version="1"), Path("python"), "source", "environment")
USUAL: dict[str, Any] = {
    "summary": "", "tasks": ("double", "single"), "input": "pseudobulk", "information": "training",
}  # fmt: skip
METRICS = (
    MetricOffer(id="l2", direction="lower", best=0.0, variants=("default", "other")),
    MetricOffer(id="r", direction="higher", best=1.0),
    MetricOffer(id="whole", direction="higher", best=1.0, level="task"),
    MetricOffer(id="roc", direction="higher", best=1.0, level="curve"),
    MetricOffer(id="own", direction="higher", best=1.0, variants=("a", "b"), unranked=("a",)),
)  # fmt: skip


def make_registry() -> Registry:
    models = (
        ModelOffer(name="mean", deterministic=True, **USUAL),
        ModelOffer(name="ridge", deterministic=True, params={"k": 10, "x": 1}, slots={"P": "perturbation"}, **USUAL),
    )
    embeddings = (
        EmbeddingOffer(name="fixed", summary="", kinds=("perturbation",), deterministic=True),
        EmbeddingOffer(name="chance", summary="", kinds=("perturbation",)),
    )
    scorers = (
        ScorerOffer(name="scores", summary="", metrics=METRICS),
        ScorerOffer(name="more", summary="", metrics=(MetricOffer(id="more", direction="lower", best=0.0),)),
        ScorerOffer(name="far", summary="", tasks=("transfer",),
                    metrics=(MetricOffer(id="far", direction="lower", best=0.0),)),
    )  # fmt: skip
    return Registry(
        plugins={"datasets": PLUGIN},
        datasets={"demo": Offered(PLUGIN, DatasetOffer(name="demo", summary=""))},
        models={offer.name: Offered(PLUGIN, offer) for offer in models},
        embeddings={offer.name: Offered(PLUGIN, offer) for offer in embeddings},
        scorers={offer.name: Offered(PLUGIN, offer) for offer in scorers},
    )


def plan_of(folder: Path, *models: str, registry: Registry | None = None, **fields: Any) -> Plan:
    usual = {"datasets": {"demo": {}}, "seeds": [1], "tasks": [{"split": {"kind": "double"}}]}
    recipe = Recipe.model_validate({**usual, "models": models, **fields})
    store = Store.open(folder / "store")
    return build_plan(recipe, registry or make_registry(), store, {}, local_executor(store.root))


def nodes(plan: Plan, stage: str) -> list[Node]:
    return [node for node in plan.nodes.values() if node.stage == stage]


def test_candidates_predict_val_too_and_are_scored_on_val_alone_by_one_scorer(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "ridge[k=5|10]")
    assert [node.job.params["k"] for node in nodes(plan, "predictions")] == [5, 10]
    assert {tuple(node.job.options["score_on"]) for node in nodes(plan, "predictions")} == {("test", "val")}
    scored = [(node.job.name, node.job.options["score_on"]) for node in nodes(plan, "scores")]
    assert scored == [("scores", ["val"])] * 2
    [attempt] = plan.attempts
    assert (attempt.label, attempt.prediction, attempt.scores, attempt.uses_validation) == ("ridge[k=*]", "", {}, True)
    assert [each.params for each in plan.selections[0].candidates] == ["k=5", "k=10"]


def test_a_grid_changes_no_key_of_the_other_models(tmp_path: Path) -> None:
    tasks = [{"split": {"kind": "double"}, "score_on": ["test", "val"]}, {"split": {"kind": "unseen"}}]
    alone = plan_of(tmp_path, "mean", "ridge[k=5]", tasks=tasks)
    beside = plan_of(tmp_path, "mean", "ridge[k=5]", "ridge[k=5|7]", tasks=tasks)
    assert alone.nodes.keys() < beside.nodes.keys()
    assert [a for a in beside.attempts if a.label != "ridge[k=*]"] == alone.attempts
    # Where val is scored, a candidate is the plain model itself, so it is not fitted twice.
    predicted = {a.prediction for a in beside.attempts if a.task.name == "double" and a.label == "ridge[k=5]"}
    assert predicted == {beside.selections[0].candidates[0].prediction}


def test_every_training_seed_selects_if_chance_has_a_part_in_any_candidate(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "ridge[P=fixed|chance]", "ridge[k=5|7]", training_seeds=[3, 4])
    assert [(a.label, a.training_seed) for a in plan.attempts] == [
        ("ridge[P=*]", 3),
        ("ridge[P=*]", 4),
        ("ridge[k=*]", 3),
    ]
    first, second = (selection.candidates for selection in plan.selections[:2])
    assert first[0].prediction == second[0].prediction  # not by chance: fitted once
    assert first[1].prediction != second[1].prediction


@pytest.mark.parametrize(
    ("fields", "metric"),
    [
        ({}, "l2"), ({"comparison": {"metric": "r"}}, "r"), ({"comparison": {"metric": "r", "select": "more"}}, "more"),
        ({"comparison": {"select": "r"}, "tasks": [{"split": {"kind": "double"}, "select": "whole"}]}, "whole"),
    ],
)  # fmt: skip
def test_a_task_selects_by_its_own_metric_or_by_that_of_the_comparison(
    tmp_path: Path, fields: dict[str, Any], metric: str
) -> None:
    [selection] = plan_of(tmp_path, "ridge[k=5|10]", **fields).selections
    assert selection.metric.id == metric


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("L2", r"'double': a grid cannot select by 'L2': no scorer of this run computes it; .*'l2'"),
        ("roc", "'roc': it has no value of a prediction or of a split, but values of the level 'curve'"),
        ("own", "'own': its card says that the values of two models cannot be compared"),
        ("far", r"'far': its scorer 'far' does not score this task \(its card: transfer\); set select"),
    ],
)
def test_a_metric_that_cannot_select_is_refused(tmp_path: Path, metric: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        plan_of(tmp_path, "ridge[k=5|10]", comparison={"select": metric})
    assert plan_of(tmp_path, "ridge[k=5]", comparison={"select": metric}).attempts  # nothing is selected there


def test_two_grids_over_the_same_parameters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"duplicate model 'ridge\[k=\*\]': .*two grids over the same parameters"):
        plan_of(tmp_path, "ridge[k=5|10]", "ridge[k=1|2]")


def test_a_table_of_the_same_name_is_refused(tmp_path: Path) -> None:
    registry = make_registry()
    registry.scorers["t"] = Offered(
        PLUGIN, ScorerOffer(name="t", summary="", tables=(TableOffer(name="selection", level="gene"),))
    )
    with pytest.raises(RecipeError, match="the scorer 't' leaves a table 'selection'"):
        plan_of(tmp_path, "ridge[k=5|10]", registry=registry)


def test_a_split_file_without_val_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["control"], "val": [], "test": ["A+B"]}))
    tasks = [{"name": "double", "split": {"kind": "file", "file": path}}]
    with pytest.raises(
        RecipeError, match=r"'double': the grid 'ridge\[k=5\|10\]' selects on val, .*split.json' has no"
    ):
        plan_of(tmp_path, "ridge[k=5|10]", tasks=tasks)
    assert plan_of(tmp_path, "ridge[k=5]", tasks=tasks).attempts


def test_a_drawn_split_without_val_skips_the_candidates(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "ridge[k=5|10]", "ridge")
    [split] = nodes(plan, "splits")
    record(Store.open(tmp_path / "store"), "splits", split.key, {"split.json": '{"val": [], "test": ["A+B"]}'})
    reasons = {node.key: node.preflight() for node in nodes(plan, "predictions") if node.preflight}
    of_candidates = [reasons.pop(each.prediction) for each in plan.selections[0].candidates]
    assert all(reason is not None and "no perturbations in val" in reason for reason in of_candidates)
    assert [*reasons.values()] == [None]


def test_a_grid_of_a_model_that_is_not_installed_is_shown_with_stars(tmp_path: Path) -> None:
    [attempt] = plan_of(tmp_path, "absent[k=5|10]").attempts
    assert (attempt.label, attempt.state) == ("absent[k=*]", "skipped")
    assert attempt.reason.startswith("not installed: 'absent[k=*]'")


# --- which candidate is chosen

Values = dict[str, float | None]


def scores_text(metric: str, values: Values) -> str:
    """Return a score table with decoys: values of another variant, of a gene and of a curve."""
    lines = [f"{name},,{metric},default,,{'' if value is None else repr(value)}" for name, value in values.items()]
    decoys = ["X,,l2,other,,-99.0", "X,G1,l2,default,,-99.0", "X,,l2,default,0.5,-99.0"]
    return HEADER + "\n".join([*lines, *decoys]) + "\n"


def select(
    folder: Path, ends: dict[int, Values | str], *, metric: str = "l2",
    unanswered: dict[int, dict[str, str]] | None = None, **fields: Any,
) -> tuple[Plan, dict[str, Outcome], list[Node]]:  # fmt: skip
    """Return what came of a grid whose candidates end as given, by k: with values on val, or in a state."""
    plan = plan_of(folder, f"ridge[k={'|'.join(map(str, ends))}]", comparison={"select": metric}, **fields)
    store = Store.open(folder / "store")
    split = json.dumps({"train": ["control"], "val": ["A+B", "C+D"], "test": ["E+F"]})
    outcomes = {}
    for key, node in plan.nodes.items():
        files = {"split.json": split} if node.stage == "splits" else {}
        outcomes[key] = record(store, node.stage, key, files)
    for (k, end), each in zip(ends.items(), plan.selections[0].candidates, strict=True):
        state: Any = end if isinstance(end, str) else "done"
        silent = (unanswered or {}).get(k, {})
        message = "" if state == "done" else f"k={k} ended"
        outcomes[each.prediction] = record(
            store, "predictions", each.prediction, state=state, message=message, unanswered=silent
        )
        if isinstance(end, str):
            outcomes[each.val_scores] = Outcome(state, message)
        else:
            outcomes[each.val_scores] = record(
                store, "scores", each.val_scores, {"scores.csv": scores_text(metric, end)}
            )
    return plan, outcomes, plan_selected(plan, outcomes, store)


def chosen_of(plan: Plan) -> list[str]:
    return [each.params for each in plan.selections[0].candidates if each.is_chosen]


@pytest.mark.parametrize(
    ("metric", "ends", "expected"),
    [
        # (1 + 5) / 2 = 3, (2 + 2) / 2 = 2, (4 + 1) / 2 = 2.5
        ("l2", {1: {"A+B": 1, "C+D": 5}, 2: {"A+B": 2, "C+D": 2}, 3: {"A+B": 4, "C+D": 1}}, "k=2"),
        ("r", {1: {"A+B": 1, "C+D": 5}, 2: {"A+B": 2, "C+D": 2}, 3: {"A+B": 4, "C+D": 1}}, "k=1"),
        ("l2", {7: {"A+B": 1, "C+D": 2}, 3: {"A+B": 2, "C+D": 1}}, "k=7"),  # a tie: the first as written
        ("l2", {7: {"A+B": 0.1, "C+D": 0.2}, 3: {"A+B": 0.3, "C+D": 0.0}}, "k=7"),  # 0.1 + 0.2 > 0.3 by rounding alone
        ("l2", {1: {"A+B": None, "C+D": None}, 2: {"A+B": 9, "C+D": 9}}, "k=2"),
        ("r", {1: {"A+B": math.inf, "C+D": math.inf}, 2: {"A+B": 9, "C+D": 9}}, "k=2"),
        ("l2", {1: {"A+B": 1, "C+D": None}, 2: {"A+B": 9, "C+D": 9}}, "k=2"),  # fewer predictions: not comparable
        ("l2", {1: "failed", 2: {"A+B": 9, "C+D": 9}, 3: "skipped"}, "k=2"),
        ("whole", {1: {"": 0.5}, 2: {"": 0.75}}, "k=2"),
    ],
)
def test_the_best_mean_on_val_is_chosen(
    tmp_path: Path, metric: str, ends: dict[int, Values | str], expected: str
) -> None:
    plan, _, added = select(tmp_path, ends, metric=metric)
    assert chosen_of(plan) == [expected]
    [attempt], [best] = plan.attempts, [each for each in plan.selections[0].candidates if each.is_chosen]
    assert (attempt.label, attempt.prediction, attempt.reason) == ("ridge[k=*]", best.prediction, "")
    # Only the chosen candidate is scored on test, by all scorers of the task.
    assert sorted(node.job.name for node in added) == ["more", "scores"]
    assert {node.job.inputs["prediction"].parent.name for node in added} == {best.prediction}
    assert {tuple(node.job.options["score_on"]) for node in added} == {("test",)}
    assert {node.key for node in added} == set(attempt.scores.values())


def test_a_whole_split_of_fewer_answers_is_not_chosen(tmp_path: Path) -> None:
    ends: dict[int, Values | str] = {1: {"": 0.9}, 2: {"": 0.1}}
    plan, _, _ = select(tmp_path, ends, metric="whole", unanswered={1: {"A+B": "unknown"}})
    assert chosen_of(plan) == ["k=2"]
    assert [(each.value, each.n) for each in plan.selections[0].candidates] == [(0.9, 1), (0.1, 2)]


def test_scores_of_val_that_the_leaderboard_wants_too_are_not_planned_again(tmp_path: Path) -> None:
    tasks = [{"split": {"kind": "double"}, "score_on": ["val"]}]
    plan, _, added = select(tmp_path, {1: {"A+B": 1.0}, 2: {"A+B": 2.0}}, tasks=tasks)
    assert [node.job.name for node in added] == ["more"]
    assert plan.attempts[0].scores["scores"] == plan.selections[0].candidates[0].val_scores


def test_a_grid_that_failed_has_the_state_and_reason_of_its_first_candidate(tmp_path: Path) -> None:
    plan, outcomes, added = select(tmp_path, {1: "timeout", 2: "failed"})
    assert chosen_of(plan) == []
    [attempt] = plan.attempts
    assert attempt.prediction == plan.selections[0].candidates[0].prediction
    outcomes |= {node.key: Outcome("timeout", "k=1 ended") for node in added}  # as the runner passes it on
    joined = join_scores(plan, outcomes, Store.open(tmp_path / "store"))
    assert set(joined["state"]) == {"timeout"}
    assert set(joined["perturbation"]) <= {"E+F", ""}


def test_a_grid_without_any_value_is_shown_with_its_reason_and_not_scored(tmp_path: Path) -> None:
    plan, outcomes, added = select(tmp_path, {1: {"A+B": None}, 2: "failed"})
    assert (chosen_of(plan), added) == ([], [])
    [attempt] = plan.attempts
    assert (attempt.state, attempt.reason) == ("skipped", "no candidate was chosen: no value of l2 on val")
    joined = join_scores(plan, outcomes, Store.open(tmp_path / "store"))
    assert set(joined["state"]) == {"skipped"}


def test_all_candidates_stand_in_the_table_and_the_choice_in_a_note(tmp_path: Path) -> None:
    plan, outcomes, _ = select(tmp_path, {1: {"A+B": 1, "C+D": 5}, 2: "failed", 3: {"A+B": 4, "C+D": 1}})
    joined = join_selections(plan, outcomes)
    table = joined.astype(object).where(joined.notna(), "none")
    columns = ["params", "grid", "metric", "direction", "value", "n", "chosen", "state", "reason"]
    assert table[columns].to_numpy().tolist() == [
        ["k=1", "k=*", "l2", "lower", 3.0, 2, "", "done", ""],
        ["k=2", "k=*", "l2", "lower", "none", 0, "", "failed", "k=2 ended"],
        ["k=3", "k=*", "l2", "lower", 2.5, 2, "yes", "done", ""],
    ]
    candidates = plan.selections[0].candidates
    assert table["record"].tolist() == [candidates[0].val_scores, candidates[1].prediction, candidates[2].val_scores]
    [note] = selection_notes(plan)
    assert note.text == "ridge[k=*]: chosen by l2 on val, for each split and training seed: k=3 (1 of 1)"


def test_the_costs_of_a_grid_are_those_of_all_candidates(tmp_path: Path) -> None:
    plan, outcomes, _ = select(tmp_path, {1: {"A+B": 1.0}, 2: {"A+B": 2.0}})
    cost = {"wall_s": 1.0, "cpu_s": 1.0, "peak_rss_mb": 1.0}
    for each in plan.selections[0].candidates:
        status = outcomes[each.prediction].status
        assert status is not None
        measured = status.model_validate(
            status.model_dump() | {"cost": cost, "phases": [{"name": "fit", **cost, "peak_gpu_mb": None}]}
        )
        outcomes[each.prediction] = Outcome("done", "", measured)
    costs = join_costs(plan, outcomes)
    whole = costs[costs["phase"] == "job"]
    assert whole["key"].tolist() == [each.prediction for each in plan.selections[0].candidates]
    assert set(whole["params"]) == {"k=*"}


@pytest.mark.parametrize(("score_on", "expected"), [(["test"], ""), (["test", "val"], "e.g. unknown")])
def test_what_is_not_answered_of_val_is_a_reason_only_where_val_is_scored(
    tmp_path: Path, score_on: list[str], expected: str
) -> None:
    tasks = [{"split": {"kind": "double"}, "score_on": score_on}]
    plan, outcomes, added = select(
        tmp_path, {1: {"A+B": 1.0}, 2: "failed"}, unanswered={1: {"C+D": "unknown"}}, tasks=tasks
    )
    outcomes |= {node.key: Outcome("done") for node in added}
    by_model = reasons(plan, outcomes, Store.open(tmp_path / "store"))
    assert by_model.get(("demo", "double", "ridge[k=*]"), "") == expected


@pytest.mark.parametrize(("score_on", "marked"), [(["test"], False), (["test", "val"], True)])
def test_a_grid_is_marked_where_val_is_scored_too(tmp_path: Path, score_on: list[str], marked: bool) -> None:
    tasks = [{"split": {"kind": "double"}, "score_on": score_on}]
    plan, outcomes, added = select(tmp_path, {1: {"A+B": 1.0}, 2: {"A+B": 2.0}}, tasks=tasks)
    store = Store.open(tmp_path / "store")
    for node in added:
        outcomes[node.key] = record(store, "scores", node.key, {"scores.csv": scores_text("l2", {"E+F": 1.0})})
    joined = join_scores(plan, outcomes, store)
    assert set(joined["selected_on_scored"]) == {marked}
