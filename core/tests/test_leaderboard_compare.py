from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.cards import MetricOffer
from pertharness.contract.errors import DataError
from pertharness.host.leaderboard.compare import COLUMNS, build_leaderboard
from pertharness.host.leaderboard.comparison import Comparison, TaskSettings

METRICS = {
    "l2": MetricOffer(id="l2", direction="lower", best=0.0),
    "pearson": MetricOffer(id="pearson", direction="higher", best=1.0),
    "curve": MetricOffer(id="curve", direction="lower", best=0.0, level="curve"),
    "auprc": MetricOffer(id="auprc", direction="higher", best=1.0, level="task"),
}
NO_STRATA = pd.DataFrame({"dataset": [], "perturbation": [], "effect": [], "on_target": []})


def rows(model, values, *, metric="l2", seed=1, training_seed=0, states=None, params="", part="test", selected=False):
    """Scores of a model: perturbation -> value; None is unanswered unless `states` says otherwise."""
    states = states or {}
    return [
        {
            "dataset": "demo", "task": "double", "split": "double", "seed": seed, "training_seed": training_seed,
            "plugin": "some", "model": model, "params": params, "perturbation": name, "gene": "", "metric": metric,
            "variant": "default", "coordinate": np.nan, "value": np.nan if value is None else value,
            "state": states.get(name, "unanswered" if value is None else "done"), "part": part,
            "selected_on_scored": selected,
        }
        for name, value in values.items()
    ]  # fmt: skip


def build(scores, *, reference="additive", common=("additive", "mean"), strata=NO_STRATA, reasons=None, **how):
    comparison = Comparison(**{"metric": "l2", "resamples": 200, **how})
    tasks = {("demo", "double"): TaskSettings(reference, common)}
    return build_leaderboard(pd.DataFrame(scores), METRICS, tasks, comparison, strata, reasons or {})


def of(frame, model, stratum="all", metric="l2"):
    found = frame[(frame["model"] == model) & (frame["stratum"] == stratum) & (frame["metric"] == metric)]
    assert len(found) == 1
    return found.iloc[0]


def test_common_set_is_what_its_models_answered_and_gaps_are_filled_with_the_mean_baseline():
    frame = build(
        rows("additive", {"A+B": 1.0, "A+C": 2.0, "B+C": 6.0})
        + rows("mean", {"A+B": 4.0, "A+C": 5.0, "B+C": None})
        + rows("gears", {"A+B": None, "A+C": 3.0, "B+C": 9.0})
        + rows("full", {"A+B": 2.0, "A+C": 2.0, "B+C": 100.0})
    )
    # Common set: A+B and A+C, which both additive and mean answered. additive (1 + 2) / 2, mean (4 + 5) / 2,
    # full (2 + 2) / 2: its 100 for B+C does not count. gears has A+C alone: 3, no rank.
    assert of(frame, "additive")[["value", "set", "n", "rank"]].tolist() == [1.5, "common", 2, 1]
    assert of(frame, "mean")[["value", "set", "n", "rank"]].tolist() == [4.5, "common", 2, 3]
    assert of(frame, "full")[["value", "set", "n", "rank"]].tolist() == [2.0, "common", 2, 2]
    gears = of(frame, "gears")
    assert gears[["value", "set", "n", "n_perturbations"]].tolist() == [3.0, "own", 1, 1]
    assert pd.isna(gears["rank"])
    # Not in the list, so against additive on all that both answered, A+C and B+C: ((3 - 2) + (9 - 6)) / 2.
    assert gears[["difference", "n_shared"]].tolist() == [2.0, 2]
    assert of(frame, "mean")["difference"] == 3.0  # in the list: on the common set
    assert pd.isna(gears["low"])  # one perturbation: nothing to resample
    # Filled: B+C has no value of mean, so the rows are A+B and A+C; gears' A+B becomes mean's 4: (4 + 3) / 2.
    assert gears[["filled_value", "filled_n", "filled_by_mean", "filled_rank"]].tolist() == [3.5, 2, 1, 3]
    assert gears[["scored", "expected", "state"]].tolist() == [2, 3, "done"]
    assert "1 unanswered" in gears["note"]


def test_common_set_is_per_split_and_seed():
    frame = build(
        rows("additive", {"A+B": 1.0, "A+C": 2.0}) + rows("additive", {"A+B": 3.0}, seed=2)
        + rows("mean", {"A+B": None, "A+C": 5.0}) + rows("mean", {"A+B": 7.0}, seed=2)
    )  # fmt: skip
    # A+B counts in split 2, where mean answered it, and not in split 1.
    assert of(frame, "additive")["value"] == 2.5
    assert of(frame, "mean")[["value", "n", "n_perturbations", "n_splits"]].tolist() == [6.0, 2, 2, 2]


def test_verdict_respects_the_direction_of_the_metric():
    names = [f"P{i}" for i in range(8)]
    scores = []
    for metric in ("l2", "pearson"):
        scores += rows("additive", {name: 2.0 + i for i, name in enumerate(names)}, metric=metric)
        scores += rows("above", {name: 3.0 + i + 0.01 * i for i, name in enumerate(names)}, metric=metric)
        scores += rows("mixed", {name: 2.0 + i + (-1) ** i for i, name in enumerate(names)}, metric=metric)
    frame = build(scores, common=("additive",))
    # Every difference of `above` is positive, so no resample is at or below 0: p = 2 / 201, times 2 by Holm.
    above = of(frame, "above")
    assert above["p_holm"] == pytest.approx(4 / 201)
    assert above["difference"] == pytest.approx(1.035)  # 1 + 0.01 (0 + ... + 7) / 8
    assert above["verdict"] == "worse"
    assert of(frame, "above", metric="pearson")["verdict"] == "better"
    assert of(frame, "mixed")["verdict"] == "undecided"
    assert of(frame, "additive")["verdict"] == "reference"
    assert [of(frame, "above", metric=metric)["rank"] for metric in ("l2", "pearson")] == [3, 1]


def test_five_shared_perturbations_are_too_few_for_a_verdict():
    for n, verdict in ((5, "undecided"), (6, "worse")):
        names = [f"P{i}" for i in range(n)]
        frame = build(
            rows("additive", dict.fromkeys(names, 1.0)) + rows("bad", dict.fromkeys(names, 9.0)), common=("additive",)
        )
        bad = of(frame, "bad")
        assert bad["verdict"] == verdict
        assert ("no verdict: 5 shared perturbations, 6 are needed" in bad["note"]) == (n == 5)
        assert pd.isna(bad["p_holm"]) == (n == 5)


def test_ties_share_the_smallest_rank():
    frame = build(
        rows("a", {"A": 2.0}) + rows("b", {"A": 1.0}) + rows("c", {"A": 2.0}) + rows("d", {"A": 3.0}), common=()
    )
    assert dict(zip(frame["model"], frame["rank"], strict=True)) == {"b": 1, "a": 2, "c": 2, "d": 4}


def test_a_metric_undefined_for_a_model_of_the_common_set_leaves_it_out():
    frame = build(
        rows("additive", {"A": 0.5, "B": 0.7}, metric="pearson")
        + rows("no_change", {"A": None, "B": None}, metric="pearson", states={"A": "undefined", "B": "undefined"}),
        common=("additive", "no_change"),
    )
    no_change = of(frame, "no_change", metric="pearson")
    assert no_change[["scored", "expected", "state", "set", "n"]].tolist() == [0, 2, "done", "", 0]
    assert pd.isna(no_change["value"])
    assert pd.isna(no_change["filled_value"])
    assert "2 undefined" in no_change["note"]
    assert "left out of the common set" in no_change["note"]
    assert of(frame, "additive", metric="pearson")["value"] == pytest.approx(0.6)


def test_a_failed_model_is_shown_with_its_reason():
    reasons = {("demo", "double", "gears[k=4]"): "CUDA out\nof memory"}
    frame = build(
        rows("additive", {"A": 1.0, "B": 2.0})
        + rows("gears", {"A": None, "B": 3.0}, states={"A": "crashed"}, params="k=4")
        + rows("gears", {"A": None, "B": None}, states={"A": "failed", "B": "failed"}, params="k=4", seed=2),
        reasons=reasons,
    )
    gears = of(frame, "gears")
    assert gears[["state", "scored", "expected"]].tolist() == ["crashed", 1, 4]
    assert gears["note"].startswith("CUDA out of memory; 2 failed; 1 crashed")


def test_a_model_that_was_not_asked_is_shown_for_every_task_and_metric():
    frame = build(
        rows("additive", {"A": 1.0, "B": 2.0}) + rows("mean", {"A": 1.0, "B": 2.0}, metric="pearson"), common=()
    )
    assert of(frame, "mean")[["scored", "expected", "state"]].tolist() == [0, 2, "skipped"]
    assert of(frame, "additive", metric="pearson")[["scored", "expected"]].tolist() == [0, 2]


def test_a_split_that_could_not_be_made_is_a_state_without_expected_values():
    frame = build(rows("additive", {"": None}, states={"": "failed"}))
    assert of(frame, "additive")[["scored", "expected", "state", "n"]].tolist() == [0, 0, "failed", 0]


@pytest.mark.parametrize(
    ("reference", "note"),
    [("", "no reference is named"), ("gone", "gone is not in the run"), ("silent", "silent has no score")],
)
def test_without_a_reference_there_is_no_verdict_and_a_note(reference, note):
    frame = build(
        rows("mean", {"A": 1.0, "B": 2.0}) + rows("silent", {"A": None, "B": None}),
        reference=reference,
        common=("mean",),
    )
    mean = of(frame, "mean")
    assert mean["verdict"] == ""
    assert note in mean["note"]
    assert pd.isna(mean["difference"])
    assert mean["rank"] == 1


def test_infinity_and_nan_are_not_scores():
    frame = build(rows("additive", {"A": np.inf, "B": 2.0, "C": np.nan}), common=())
    assert of(frame, "additive")[["value", "scored", "expected"]].tolist() == [2.0, 1, 3]


def test_strata_hold_strong_and_on_target_perturbations():
    strata = pd.DataFrame(
        {
            "dataset": ["demo"] * 4 + ["other"],
            "perturbation": ["A", "B", "C", "train", "A"],
            "effect": [1.0, 2.0, 3.0, 99.0, 0.0],  # median over the held-out A, B, C: 2
            "on_target": ["yes", "no", "", "yes", "no"],
        }
    )
    frame = build(rows("additive", {"A": 1.0, "B": 2.0, "C": 6.0}), strata=strata)
    assert of(frame, "additive", "strong-effect")[["value", "expected"]].tolist() == [4.0, 2]
    assert of(frame, "additive", "on-target")[["value", "expected"]].tolist() == [1.0, 1]
    none = build(rows("additive", {"A": 1.0}), strata=strata.assign(on_target="", effect=np.nan))
    assert none["stratum"].tolist() == ["all"]


def test_spread_over_split_seeds_and_training_seeds():
    scores = []
    for seed, training_seed, value in ((1, 0, 1.0), (1, 1, 3.0), (2, 0, 5.0), (2, 1, 7.0)):
        scores += rows("gears", {"A": value, "B": value + 1}, seed=seed, training_seed=training_seed)
    gears = of(build(scores, common=()), "gears")
    # Means per split, over training seeds and A, B: 2.5 and 6.5, sd 4 / sqrt 2. Means per training seed: 3.5 and 5.5.
    assert gears["sd_split"] == pytest.approx(4 / np.sqrt(2))
    assert gears["sd_training"] == pytest.approx(2 / np.sqrt(2))
    assert gears[["value", "scored", "expected", "n"]].tolist() == [4.5, 8, 8, 4]
    one = of(build(rows("mean", {"A": 1.0, "B": 2.0})), "mean")
    assert one[["sd_split", "sd_training"]].isna().all()


def test_a_model_selected_on_scored_data_has_its_test_score_beside():
    scores = rows("gears", {"A": 1.0}, selected=True) + rows("gears", {"B": 5.0}, part="val", selected=True)
    gears = of(build(scores, common=()), "gears")
    assert gears[["value", "value_test_only", "selected_on_scored"]].tolist() == [3.0, 1.0, "yes"]


def test_identity_bootstrap_keeps_the_splits_of_a_perturbation_together():
    scores = []
    for seed in range(1, 6):
        scores += rows("additive", {"A": 0.0, "B": 10.0}, seed=seed)
    # Two perturbations: a resample is AA, AB, BA or BB, so the interval is all of 0 to 10. Ten free rows: narrower.
    identity = of(build(scores, common=(), resamples=2000), "additive")
    rowwise = of(build(scores, common=(), resamples=2000, bootstrap="rows"), "additive")
    assert identity[["low", "high"]].tolist() == [0.0, 10.0]
    assert 0 < rowwise["low"] < 5 < rowwise["high"] < 10


def test_gene_and_curve_values_are_passed_over():
    extra = rows("additive", {"A": 99.0}) + rows("additive", {"A": 99.0}) + rows("additive", {"A": 9.0}, metric="curve")
    extra[0]["gene"], extra[1]["coordinate"] = "KLF1", 0.5
    frame = build(rows("additive", {"A": 1.0}) + extra, common=())
    assert frame["metric"].tolist() == ["l2"]
    assert of(frame, "additive")["value"] == 1.0


def test_unknown_state_and_metric_are_named():
    with pytest.raises(DataError, match=r"unknown state 'gone'"):
        build(rows("additive", {"A": None}, states={"A": "gone"}))
    with pytest.raises(DataError, match=r"unknown metric 'rmse'"):
        build(rows("additive", {"A": 1.0}, metric="rmse"))


def test_no_scores_give_an_empty_leaderboard():
    assert list(build([]).columns) == list(COLUMNS)


def test_rank_interval_covers_what_the_resamples_allow():
    names = [f"P{i}" for i in range(10)]
    frame = build(
        rows("clear", dict.fromkeys(names, 0.0))
        + rows("a", {name: 5.0 + (i % 2) for i, name in enumerate(names)})
        + rows("b", {name: 6.0 - (i % 2) for i, name in enumerate(names)}),
        common=(),
    )
    assert of(frame, "clear")[["rank_low", "rank_high"]].tolist() == [1, 1]
    assert of(frame, "a")[["rank_low", "rank_high"]].tolist() == [2, 3]


values = st.one_of(st.none(), st.floats(-100, 100).map(lambda x: round(x, 3)))
model_scores = st.fixed_dictionaries({(seed, name): values for seed in (1, 2) for name in "ABCDEFG"})


def flat(model, scored):
    return [row for (seed, name), value in scored.items() for row in rows(model, {name: value}, seed=seed)]


@settings(max_examples=25, deadline=None)
@given(st.lists(model_scores, min_size=4, max_size=4), st.randoms(use_true_random=False))
def test_order_of_scores_makes_no_difference(scored, random):
    scores = [row for name, one in zip(("additive", "mean", "x", "y"), scored, strict=True) for row in flat(name, one)]
    shuffled = scores.copy()
    random.shuffle(shuffled)
    assert build(shuffled).to_csv() == build(scores).to_csv()


@settings(max_examples=25, deadline=None)
@given(st.lists(model_scores, min_size=4, max_size=4))
def test_a_model_outside_the_list_changes_no_value_of_the_others(scored):
    scores = [row for name, one in zip(("additive", "mean", "x"), scored, strict=False) for row in flat(name, one)]
    # Ranks and Holm's correction are about all models that are compared; all the rest is the model's own.
    of_all = ("rank", "rank_low", "rank_high", "rank_stability", "filled_rank", "p_holm", "verdict")
    own = [name for name in COLUMNS if name not in of_all]
    before = build(scores)
    after = build(scores + flat("outside", scored[3]))
    by = ["model", "stratum"]
    kept = after[after["model"] != "outside"].sort_values(by, ignore_index=True)
    pd.testing.assert_frame_equal(
        kept[own].drop(columns="note"), before.sort_values(by, ignore_index=True)[own].drop(columns="note")
    )


def test_a_model_with_test_weights_is_compared_with_none_and_changes_nothing_for_the_others():
    names = [f"A+{letter}" for letter in "BCDEFGHIJ"]
    others = [
        *rows("additive", {name: float(i + 1) for i, name in enumerate(names)}),
        *rows("mean", {name: float(i + 3) for i, name in enumerate(names)}),
        *rows("gears", {name: float(i) / 2 for i, name in enumerate(names)}),
    ]
    tested = rows("scgpt (test weights)", dict.fromkeys(names, 0.25), params="checkpoint=tiny.pt")
    without, frame = build(others), build(others + tested)
    mine = frame["model"] == "scgpt (test weights)"
    pd.testing.assert_frame_equal(frame[~mine].reset_index(drop=True), without)
    row = of(frame, "scgpt (test weights)")
    assert (row["value"], row["n"], row["state"]) == (0.25, 9, "done")
    blank = ["rank", "rank_low", "rank_high", "rank_stability", "difference", "p_holm", "filled_value", "filled_rank"]
    assert row[blank].isna().all()
    assert row["verdict"] == ""
    assert row["note"] == "no rank, no verdict: its weights are not the published ones"
    assert of(frame, "gears")["rank"] == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(model_scores, min_size=3, max_size=3), st.sampled_from(["failed", "skipped", "timeout"]))
def test_a_failed_model_changes_nothing_for_the_others(scored, state):
    scores = [row for name, one in zip(("additive", "mean", "x"), scored, strict=True) for row in flat(name, one)]
    names = dict.fromkeys("ABCDEFG")
    failed = [row for seed in (1, 2) for row in rows("gears", names, seed=seed, states=dict.fromkeys(names, state))]
    after = build(scores + failed, common=("additive", "mean", "gears"))
    assert after[after["model"] != "gears"].to_csv(index=False) == build(scores).to_csv(index=False)
    assert of(after, "gears")["state"] == state


def test_every_column_is_described_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    described = {name for line in page.splitlines() if line.startswith("| `") for name in line.split("|")[1].split("`")}
    assert not set(COLUMNS) - described


def test_rank_stability_is_the_share_of_resamples_with_the_same_rank():
    names = [f"P{i}" for i in range(4)]
    frame = build(
        rows("clear", dict.fromkeys(names, 0.0))
        + rows("a", dict(zip(names, [1.0, 2.0, 2.0, 2.0], strict=True)))
        + rows("b", dict(zip(names, [1.9, 1.9, 1.9, 1.9], strict=True))),
        common=(),
        resamples=4000,
    )
    # a has a mean of 2 - k / 4 where P0 is drawn k times, b always 1.9: a is second if k >= 1, which is so in
    # 1 - (3/4)^4 = 0.684 of all resamples; 4000 of them have a standard error of 0.007.
    assert of(frame, "clear")["rank_stability"] == 1.0
    assert of(frame, "a")["rank"] == 2
    assert of(frame, "a")["rank_stability"] == pytest.approx(1 - 0.75**4, abs=0.03)
    assert of(frame, "b")["rank_stability"] == of(frame, "a")["rank_stability"]


def areas(model, values, **other):
    """One score of a whole split for each seed from 1."""
    found = []
    for seed, value in enumerate(values, 1):
        states = {"": "undefined"} if value is None else None
        found += rows(model, {"": value}, metric="auprc", seed=seed, part="", states=states, **other)
    return found


def test_a_metric_of_whole_splits_has_mean_and_standard_error_over_splits():
    frame = build(
        areas("good", [0.4, 0.6, 0.8])
        + areas("bad", [0.1, 0.2, 0.3])
        + areas("additive", [None, None, None])
        + rows("good", {"A": 1.0, "B": 2.0}),
        common=("additive",),
    )
    good = of(frame, "good", metric="auprc")
    # Mean 0.6; deviations -0.2, 0, 0.2: sd sqrt(0.08 / 2) = 0.2, standard error 0.2 / sqrt 3.
    assert good["value"] == pytest.approx(0.6)
    assert good["se"] == pytest.approx(0.2 / np.sqrt(3))
    assert good[["scored", "expected", "n", "n_splits", "rank"]].tolist() == [3, 3, 3, 3, 1]
    blank = ["low", "high", "rank_low", "rank_stability", "n_perturbations", "filled_value", "p_holm", "n_shared"]
    assert good[blank].isna().all()
    assert good["verdict"] == ""
    assert of(frame, "bad", metric="auprc")["rank"] == 2
    additive = of(frame, "additive", metric="auprc")
    assert additive[["scored", "expected", "set", "state"]].tolist() == [0, 3, "", "done"]
    assert "3 undefined" in additive["note"]
    assert pd.isna(of(frame, "good")["se"])  # a metric of perturbations
    assert frame[frame["metric"] == "auprc"]["stratum"].unique().tolist() == ["all"]


def test_a_metric_of_whole_splits_ranks_only_models_that_answered_the_same():
    asked = {"A": 1.0, "B": 2.0}
    frame = build(
        rows("additive", asked) + areas("additive", [None])  # answers, and does not compete
        + rows("good", asked) + areas("good", [0.4])
        + rows("easy", {"A": 1.0, "B": None}) + areas("easy", [0.9])
        + rows("poor", asked) + areas("poor", [0.3]),
        common=("additive",),
    )  # fmt: skip
    # `easy` left out B: its 0.9 is over A alone.
    assert of(frame, "easy", metric="auprc")[["value", "set"]].tolist() == [0.9, "own"]
    assert pd.isna(of(frame, "easy", metric="auprc")["rank"])
    assert "answered other queries" in of(frame, "easy", metric="auprc")["note"]
    assert [of(frame, name, metric="auprc")["rank"] for name in ("good", "poor")] == [1, 2]
    # Where the common set is that of `easy`, the others are the ones that are over something else.
    narrow = build(
        rows("easy", {"A": 1.0, "B": None}) + areas("easy", [0.9]) + rows("good", asked) + areas("good", [0.4]),
        common=("easy",),
    )
    assert of(narrow, "easy", metric="auprc")["rank"] == 1
    assert of(narrow, "good", metric="auprc")["set"] == "own"


def test_a_metric_of_doubles_ranks_models_that_answered_the_same_doubles_whatever_else_they_answered():
    asked = {"A+B": 1.0, "A+Z": 2.0, "B": 3.0}  # Z is not measured: no double of it has an expectation
    measured = pd.DataFrame(
        {"dataset": "demo", "perturbation": ["control", "A", "B", "A+B", "A+Z"], "effect": 1.0, "on_target": ""}
    )
    scores = (
        rows("additive", {"A+B": 1.0, "A+Z": None, "B": 3.0}) + areas("additive", [None])
        + rows("more", asked) + areas("more", [0.4])
        + rows("less", {"A+B": 1.0, "A+Z": None, "B": None}) + areas("less", [0.3])
        + rows("other", {"A+B": None, "A+Z": 2.0, "B": 3.0}) + areas("other", [0.9])
    )  # fmt: skip
    tasks = {("demo", "double"): TaskSettings("additive", ("additive",))}

    def ranks(covers, strata):
        offers = {**METRICS, "auprc": METRICS["auprc"].model_copy(update={"covers": covers})}
        frame = build_leaderboard(pd.DataFrame(scores), offers, tasks, Comparison("l2", resamples=50), strata, {})
        found = {name: of(frame, name, metric="auprc")["rank"] for name in ("more", "less", "other")}
        return {name: None if pd.isna(rank) else int(rank) for name, rank in found.items()}

    # The area of each is over A+B alone, but for that of `other`, which did not answer it.
    assert ranks("doubles", measured) == {"more": 1, "less": 2, "other": None}
    # A value over all that was answered is not comparable, and neither is one where the singles are unknown.
    for unknown in (("answers", measured), ("doubles", NO_STRATA)):
        assert ranks(*unknown) == {"more": None, "less": None, "other": None}


def test_a_variant_whose_values_are_no_match_has_neither_rank_nor_verdict():
    scores = rows("additive", dict.fromkeys("ABCDEF", 5.0)) + rows("partial", dict.fromkeys("ABCDEF", 1.0))
    for row in scores:
        row["variant"] = "published-code"
    offers = {
        "l2": MetricOffer(
            id="l2", direction="lower", best=0.0, variants=("published-code",), unranked=("published-code",)
        )
    }
    tasks = {("demo", "double"): TaskSettings("additive", ("additive",))}
    frame = build_leaderboard(pd.DataFrame(scores), offers, tasks, Comparison("l2", resamples=200), NO_STRATA, {})
    assert of(frame, "partial")["value"] == 1.0
    blank = ["rank", "rank_low", "rank_stability", "difference", "p_holm", "filled_value", "filled_rank"]
    assert frame[blank].isna().all(axis=None)
    assert set(frame["verdict"]) == {""}


def test_training_seeds_are_averaged_before_splits_and_one_split_has_no_standard_error():
    frame = build(
        areas("m", [0.2, 0.6], training_seed=1) + areas("m", [0.4, None], training_seed=2) + areas("n", [0.5]),
        common=(),
        reference="",
    )
    m = of(frame, "m", metric="auprc")
    assert m["value"] == pytest.approx((0.3 + 0.6) / 2)  # split 1: (0.2 + 0.4) / 2, split 2: 0.6
    assert m["se"] == pytest.approx(0.15)  # |0.6 - 0.3| / sqrt 2 / sqrt 2
    assert m[["scored", "expected"]].tolist() == [3, 4]
    n = of(frame, "n", metric="auprc")
    assert n[["scored", "expected", "set"]].tolist() == [1, 1, "own"]
    assert pd.isna(n["se"])
    assert pd.isna(n["rank"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(values, min_size=3, max_size=3), min_size=2, max_size=3))
def test_metrics_of_whole_splits_leave_those_of_perturbations_as_they_are(scored):
    names = ("additive", "mean", "x")
    own = [row for name in names for row in rows(name, {"A": 1.0, "B": 2.0})]
    splits = [row for name, one in zip(names, scored, strict=False) for row in areas(name, one)]
    both = build(own + splits)
    alone = both[both["metric"] == "l2"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, build(own))
    finite = [x for x in scored[0] if x is not None]
    additive = of(both, "additive", metric="auprc")
    assert additive["scored"] == len(finite)


def test_a_reason_of_one_metric_is_not_told_of_another():
    frame = build(
        rows("additive", {"A": 1.0, "B": 2.0}) + areas("additive", [None]),
        reasons={("demo", "double", "additive", "auprc"): "no doubles"},
    )
    assert of(frame, "additive", metric="auprc")["note"].startswith("no doubles")
    assert "no doubles" not in of(frame, "additive")["note"]
