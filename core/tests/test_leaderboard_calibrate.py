"""Positions between the reference and the technical duplicate: by hand, and beside a leaderboard without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.cards import MetricOffer
from pertharness.host.leaderboard import calibrate
from pertharness.host.leaderboard.calibrate import COLUMNS, NO_RANGE, add_positions, compute_positions
from pertharness.host.leaderboard.compare import build_leaderboard
from pertharness.host.leaderboard.comparison import DUPLICATE, Comparison, TaskSettings
from pertharness.host.leaderboard.markdown import as_markdown
from pertharness.host.leaderboard.tables import make_tables
from pertharness.host.leaderboard.write import summarise_costs
from pertharness.host.report import write_report

METRICS = {
    "l2": MetricOffer(id="l2", direction="lower", best=0.0),
    "pearson": MetricOffer(id="pearson", direction="higher", best=1.0),
    "ratio": MetricOffer(id="ratio", direction="lower", best=0.0, level="task"),
}
SETTINGS = {("demo", "double"): TaskSettings("additive", ("additive",))}
COMPARISON = Comparison(metric="l2", resamples=100)
STRATA = pd.DataFrame(
    {"dataset": "demo", "perturbation": ["P0", "P1", "P2"], "effect": [3.0, 1.0, 2.0], "on_target": "no"}
)


def rows(model: str, values: list[float | None], metric: str = "l2", seed: int = 1) -> list[dict[str, Any]]:
    """Return the scores of a model: of P0, P1, ..., or of a whole split; None is undefined."""
    whole = METRICS[metric].level == "task"
    return [
        {
            "dataset": "demo", "task": "double", "split": "double", "seed": seed, "training_seed": 1, "plugin": "some",
            "model": model, "params": "", "perturbation": "" if whole else f"P{i}", "gene": "", "metric": metric,
            "variant": "default", "coordinate": np.nan, "value": np.nan if value is None else value,
            "state": "undefined" if value is None else "done", "part": "test", "selected_on_scored": False,
        }
        for i, value in enumerate(values[:1] if whole else values)
    ]  # fmt: skip


def board(scores: list[dict[str, Any]], half: list[dict[str, Any]], **reasons: str) -> pd.DataFrame:
    """Return the leaderboard of scores against all cells, with positions by those against the second half."""
    plain = build_leaderboard(pd.DataFrame(scores), METRICS, SETTINGS, COMPARISON, STRATA, {})
    why = {("demo", "double", model): reason for model, reason in reasons.items()}
    return add_positions(plain, pd.DataFrame(half), METRICS, SETTINGS, COMPARISON, STRATA, why)


def of(frame: pd.DataFrame, model: str, metric: str = "l2", stratum: str = "all") -> pd.Series:
    found = frame[(frame["model"] == model) & (frame["metric"] == metric) & (frame["stratum"] == stratum)]
    assert len(found) == 1
    row: pd.Series = found.iloc[0]
    return row


def test_position_is_the_way_from_the_reference_to_the_duplicate() -> None:
    frame = board(
        rows("additive", [4.0, 6.0]) + rows("gears", [3.0, 4.0]),
        rows("additive", [5.0, 7.0]) + rows("gears", [4.0, 5.0]) + rows("better", [1.0, 2.0])
        + rows("worse", [8.0, 8.0]) + rows(DUPLICATE, [2.0, 4.0]),
    )  # fmt: skip
    # Means against the half: additive 6, gears 4.5, duplicate 3: (4.5 - 6) / (3 - 6) = 0.5.
    assert of(frame, "gears")[["position", "value_half", "range", "value"]].tolist() == [0.5, 4.5, "yes", 3.5]
    assert of(frame, "additive")[["position", "value_half"]].tolist() == [0.0, 6.0]
    assert of(frame, DUPLICATE)[["position", "value_half", "value", "set"]].tolist() == [1.0, 3.0, 3.0, "half"]


def test_a_model_better_than_the_duplicate_is_above_1_and_one_worse_than_the_reference_below_0() -> None:
    # Lower is better: reference 6, duplicate 3. Higher: reference 0.2, duplicate 0.6.
    lower = compute_positions(np.array([[6.0], [3.0], [1.5], [7.5]]), 0, 1, -1.0)
    higher = compute_positions(np.array([[0.2], [0.6], [0.8], [0.0]]), 0, 1, 1.0)
    assert lower.position == pytest.approx([0, 1, 1.5, -0.5])
    assert higher.position == pytest.approx([0, 1, 1.5, -0.5])
    assert (lower.has_range, higher.has_range) == ("yes", "yes")


def test_a_model_is_placed_on_the_rows_that_all_three_have() -> None:
    answers = np.array([[4.0, 6.0, np.nan, 9.0], [2.0, 2.0, 1.0, np.nan], [np.nan, 3.0, 0.0, 0.0]])
    places = compute_positions(answers, 0, 1, -1.0)
    # The third has row 1 with both: (3 - 6) / (2 - 6); reference and duplicate have rows 0 and 1.
    assert places.position == pytest.approx([0, 1, 0.75])
    assert places.value == pytest.approx([5, 2, 3])


def test_a_model_whose_own_rows_have_no_range_has_no_position() -> None:
    places = compute_positions(np.array([[4.0, 6.0], [5.0, 2.0], [3.0, np.nan]]), 0, 1, -1.0)
    assert places.has_range == "yes"
    assert np.isnan(places.position[2])


@pytest.mark.parametrize(
    ("reference", "duplicate", "sign", "known"),
    [
        (3.0, 3.0, -1.0, "no"), (3.0, 3.0 - 1e-12, -1.0, "no"), (3.0, 4.0, -1.0, "no"), (3.0, 2.0, 1.0, "no"),
        (3.0, np.nan, 1.0, ""), (np.nan, 3.0, 1.0, ""), (3.0, 2.999, -1.0, "yes"), (-3.0, -2.0, 1.0, "yes"),
    ],
)  # fmt: skip
def test_there_is_a_range_if_the_duplicate_is_better_by_more_than_rounding(
    reference: float, duplicate: float, sign: float, known: str
) -> None:
    places = compute_positions(np.array([[reference], [duplicate], [2.0]]), 0, 1, sign)
    assert places.has_range == known
    assert np.isfinite(places.position).all() == (known == "yes")


def test_without_the_reference_no_range_is_known() -> None:
    assert compute_positions(np.array([[1.0], [2.0]]), None, 1, 1.0).has_range == ""


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=3, max_size=3), st.floats(0.1, 5), st.floats(-5, 5))
def test_positions_do_not_depend_on_unit_and_origin_of_a_metric(
    values: list[float], scale: float, shift: float
) -> None:
    if abs(values[0] - values[1]) < 0.01:
        return
    sign = np.sign(values[1] - values[0])
    column = np.array(values)[:, None]
    one, other = (compute_positions(x, 0, 1, sign).position for x in (column, column * scale + shift))
    flipped = compute_positions(-column, 0, 1, -sign).position
    assert one == pytest.approx(other, abs=1e-6)
    assert one == pytest.approx(flipped)


def make_scores(half: bool) -> list[dict[str, Any]]:
    """Return scores of three models, two metrics and two splits; of pearson the duplicate is no better."""
    rng = np.random.default_rng(half)
    levels = {"additive": 2.0, "mean": 3.0, "gears": 2.5} | ({DUPLICATE: 1.0} if half else {})
    found = []
    for seed in (1, 2):
        for model, level in levels.items():
            for metric in METRICS:
                found += rows(model, [float(x) for x in level + 0.1 * rng.random(3)], metric, seed)
    return found


def test_positions_alter_nothing_else_of_any_model() -> None:
    before = build_leaderboard(pd.DataFrame(make_scores(False)), METRICS, SETTINGS, COMPARISON, STRATA, {})
    after = board(make_scores(False), make_scores(True))
    kept = after[after["model"] != DUPLICATE]
    by = ["metric", "variant", "stratum", "model"]
    left, right = (one.sort_values(by, ignore_index=True)[list(before.columns)] for one in (before, kept))
    without = right["metric"] == "pearson"
    ranks = ["rank", "rank_low", "rank_high", "rank_stability", "filled_rank"]
    pd.testing.assert_frame_equal(left.drop(columns=[*ranks, "note"]), right.drop(columns=[*ranks, "note"]))
    pd.testing.assert_frame_equal(left[~without], right[~without])
    assert right.loc[without, ranks].isna().all(axis=None)
    assert (right.loc[without, "note"] == [f"{NO_RANGE}; {x}" if x else NO_RANGE for x in left["note"][without]]).all()
    assert left.loc[without, "rank"].notna().any()


def test_a_run_that_does_not_calibrate_has_the_columns_empty() -> None:
    plain = build_leaderboard(pd.DataFrame(make_scores(False)), METRICS, SETTINGS, COMPARISON, STRATA, {})
    frame = board(make_scores(False), [])
    pd.testing.assert_frame_equal(frame[list(plain.columns)], plain)
    assert list(frame.columns) == [*plain.columns, *COLUMNS]
    assert frame[["position", "value_half"]].isna().all(axis=None)
    assert (frame["range"] == "").all()


def test_every_metric_and_stratum_has_its_own_range() -> None:
    frame = board(
        rows("additive", [4.0, 4.0, 4.0]), rows("additive", [4.0, 4.0, 4.0]) + rows(DUPLICATE, [9.0, 1.0, 9.0])
    )
    # Strong effects are P0 and P2, where the duplicate is worse; over all it is (9 + 1 + 9) / 3, worse too.
    assert of(frame, "additive")["range"] == "no"
    frame = board(
        rows("additive", [4.0, 4.0, 4.0]), rows("additive", [4.0, 4.0, 4.0]) + rows(DUPLICATE, [5.0, 0.0, 5.0])
    )
    assert of(frame, "additive")["range"] == "yes"
    assert of(frame, "additive", stratum="strong-effect")["range"] == "no"


def test_whole_splits_have_positions_too() -> None:
    frame = board(make_scores(False), make_scores(True))
    assert of(frame, "gears", "ratio")["range"] == "yes"
    assert -1 < of(frame, "gears", "ratio")["position"] < 0


def test_duplicate_is_shown_and_neither_ranked_nor_compared_nor_filled() -> None:
    row = of(board(make_scores(False), make_scores(True)), DUPLICATE)
    assert row[["rank", "rank_low", "filled_value", "filled_rank", "difference", "p_holm"]].isna().all()
    assert (row["verdict"], row["scored"], row["reference"]) == ("", 6, "additive")
    assert "one half of the cells as a prediction of the other half" in row["note"]


def test_without_halves_the_duplicate_says_why_and_nothing_has_a_position() -> None:
    half = [{**row, "value": np.nan, "state": "skipped"} for row in make_scores(True)]
    frame = board(make_scores(False), half, technical_duplicate="the dataset holds means")
    assert (frame["range"] == "").all()
    assert frame["position"].isna().all()
    row = of(frame, DUPLICATE)
    assert (row["state"], row["set"]) == ("skipped", "")
    assert "the dataset holds means" in row["note"]
    assert of(frame, "additive")["rank"] == 1


def test_duplicate_has_no_row_where_no_model_has_one() -> None:
    frame = board(rows("additive", [4.0]), make_scores(True))
    assert set(frame["metric"]) == {"l2"}


def test_order_of_scores_makes_no_difference() -> None:
    scores, half = make_scores(False), make_scores(True)
    assert board(scores[::-1], half[::-1]).to_csv() == board(scores, half).to_csv()


@pytest.fixture
def tables() -> list[Any]:
    frame = board(make_scores(False), make_scores(True))
    columns = ["dataset", "task", "seed", "training_seed", "plugin", "model", "params", "stage", "phase", "state"]
    costs = summarise_costs(pd.DataFrame(columns=[*columns, "wall_s", "peak_rss_mb", "peak_gpu_mb"]))
    return make_tables(frame, METRICS, SETTINGS, COMPARISON, costs)


def test_tables_grey_what_has_no_range_and_say_so(tables: list[Any], tmp_path: Path) -> None:
    by_metric = {table.metric: table for table in tables if table.stratum == "all"}
    assert (by_metric["l2"].greyed, by_metric["pearson"].greyed) == (False, True)
    assert "Position: 0 is additive, 1 is technical_duplicate" in by_metric["l2"].sentence
    assert "Not ranked" in by_metric["pearson"].sentence
    assert {line.rank for line in by_metric["pearson"].lines} == {"-"}
    assert not any("no range" in reason or DUPLICATE in reason for table in tables for reason in table.reasons)
    page = as_markdown(tables)
    columns = next(line for line in page.splitlines() if line.startswith("| additive |")).split("|")
    assert columns[2].strip().startswith("*")
    write_report(tables, {}, tmp_path)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert html.count('<table class="greyed">') == sum(table.greyed for table in tables) > 0
    assert "<th>position</th>" in html


def test_every_column_is_described_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    described = {name for line in page.splitlines() if line.startswith("| `") for name in line.split("|")[1].split("`")}
    assert not {*calibrate.COLUMNS} - described
