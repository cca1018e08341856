"""Badges, coverage and isolation: in the columns of the leaderboard, and as a reader sees them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pertharness.contract.cards import MetricOffer
from pertharness.contract.jobs import Isolation
from pertharness.contract.scores import COMMON_GENES
from pertharness.host.leaderboard.badges import CONSTANT, COPIES_BY_DESIGN, SUSPECT
from pertharness.host.leaderboard.calibrate import add_positions, reaches_duplicate
from pertharness.host.leaderboard.compare import build_leaderboard
from pertharness.host.leaderboard.comparison import DUPLICATE, Comparison, TaskSettings
from pertharness.host.leaderboard.grid import NAME_WIDTH
from pertharness.host.leaderboard.markdown import as_markdown
from pertharness.host.leaderboard.model_facts import (
    COLUMNS,
    Key,
    ModelFacts,
    add_model_facts,
    isolation_notes,
    make_notes,
)
from pertharness.host.leaderboard.prediction_facts import PredictionFacts
from pertharness.host.leaderboard.tables import Note, Table, make_tables
from pertharness.host.leaderboard.terminal import print_leaderboard
from pertharness.host.leaderboard.write import write_leaderboard
from pertharness.host.report import write_report
from rich.console import Console

METRICS = {
    "l2": MetricOffer(id="l2", direction="lower", best=0.0, variants=("default", COMMON_GENES)),
    "pearson": MetricOffer(id="pearson", direction="higher", best=1.0),
}
SETTINGS = {("demo", "double"): TaskSettings("additive", ("additive", "mean"))}
COMPARISON = Comparison(metric="l2", resamples=100)
STRATA = pd.DataFrame({"dataset": [], "perturbation": [], "effect": [], "on_target": []}, dtype=object)
COSTS = pd.DataFrame(columns=["dataset", "task", "plugin", "model", "params", "wall_s", "peak_rss_mb"])
HOSTILE = "\x00\x1b[31m\u202e|<script>"
LANDLOCK = Isolation(mechanism="landlock", abi=7, seccomp=True)
PARTIAL = Isolation(mechanism="landlock", abi=7, partial=["/home/me/screens", f"/odd{HOSTILE}"])
FULL = PredictionFacts(n_answers=4, n_values=40, n_predicted=40, alike=False, n_copies=0)


def facts(*isolations: Isolation, declared: dict[str, bool] | None = None, **changes: Any) -> ModelFacts:
    """Return the facts of a model with one prediction."""
    return ModelFacts(**(declared or {})).with_prediction(FULL.model_copy(update=changes), isolations)


def key(model: str, params: str = "") -> Key:
    return ("demo", "double", "some", model, params)


def scores_of(values: dict[str, list[float]], metric: str = "l2", variant: str = "default") -> pd.DataFrame:
    """Return the scores of models on P0, P1, ..."""
    rows = [(model, f"P{i}", value) for model, given in values.items() for i, value in enumerate(given)]
    return pd.DataFrame(rows, columns=["model", "perturbation", "value"]).assign(
        dataset="demo", task="double", split="double", seed=1, training_seed=1, plugin="some", params="", gene="",
        metric=metric, variant=variant, coordinate=np.nan, state="done", part="test", selected_on_scored=False,
    )  # fmt: skip


VALUES = {"additive": [2.0, 2.2, 2.1, 1.9], "mean": [3.0, 3.3, 3.1, 3.2], "deep": [2.5, 2.6, 2.4, 2.7]}


def board(scores: pd.DataFrame | None = None, half: pd.DataFrame | None = None) -> pd.DataFrame:
    scores = scores_of(VALUES) if scores is None else scores
    plain = build_leaderboard(scores, METRICS, SETTINGS, COMPARISON, STRATA, {})
    half = pd.DataFrame() if half is None else half
    return add_positions(plain, half, METRICS, SETTINGS, COMPARISON, STRATA, {})


def tables_of(frame: pd.DataFrame) -> list[Table]:
    return make_tables(frame, METRICS, SETTINGS, COMPARISON, COSTS)


def on_terminal(frame: pd.DataFrame, notes: list[Note] | None = None, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_leaderboard(tables_of(frame), console, notes or [])
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def in_report(folder: Path, frame: pd.DataFrame, notes: list[Note], title: str = "Leaderboard") -> str:
    write_report(tables_of(frame), {"notes": f"a{HOSTILE}"}, folder / "report", title, notes=notes)
    return (folder / "report" / "index.html").read_text(encoding="utf-8")


def flat(text: str) -> str:
    """Return a text as one line, whatever the lines that it was broken into."""
    return " ".join(text.split())


# --- badges


@pytest.mark.parametrize(
    ("known", "badges"),
    [
        (facts(), []),
        (facts(alike=True), ["all alike"]),
        (facts(alike=True, declared={"constant": True}), ["constant by design"]),
        (facts(n_copies=1, example=("A", "control")), ["copies training"]),
        (facts(n_copies=1, example=("A", "control"), declared={"copies_training": True}), ["copies by design"]),
        (
            facts(alike=True, n_copies=4, example=("A", "B"), declared={"constant": True}),
            ["constant by design", "copies training"],
        ),
        (facts(declared={"constant": True, "copies_training": True}), []),
        (ModelFacts(constant=True), []),
    ],
)  # fmt: skip
def test_a_badge_needs_a_fact_and_the_card_says_how_it_reads(known: ModelFacts, badges: list[str]) -> None:
    assert known.badges == badges


def test_no_other_column_and_no_row_is_altered() -> None:
    before = board()
    after = add_model_facts(before, {key("deep"): facts(LANDLOCK, alike=True, n_predicted=20)})

    pd.testing.assert_frame_equal(after.drop(columns=list(COLUMNS)), before)
    deep, rest = after[after["model"] == "deep"], after[after["model"] != "deep"]
    assert deep[["tells", "coverage", "isolation"]].drop_duplicates().values.tolist() == [
        ["all alike", 0.5, "landlock"]
    ]
    assert set(rest["tells"]) == {""}
    assert rest["coverage"].isna().all()


def test_badges_stand_in_every_table_with_an_explanation(tmp_path: Path) -> None:
    known = {
        key("deep"): facts(alike=True, n_copies=3, example=("A+B", "B")),
        key("mean"): facts(alike=True, declared={"constant": True}),
    }
    frame = add_model_facts(board(), known)
    notes = make_notes(frame, known, METRICS)
    why = "deep: all alike: it gave the same answer to all queries in 1 of 1 predictions"
    copied = (
        "deep: copies training: 3 of 4 answers equal the mean of a training perturbation or of the controls (first:"
    )
    copied += " that to A+B is the mean of B)"
    assert not [note for note in notes if note.text.startswith("mean")]  # its nature is no news

    write_leaderboard(frame, tmp_path, tables_of(frame), notes)
    table = pd.read_csv(tmp_path / "leaderboard.csv", keep_default_na=False).set_index("model")
    rows = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    for tells in (table["tells"].to_dict(), {row["model"]: row["tells"] for row in rows}):
        assert tells == {"additive": "", "mean": "constant by design", "deep": "all alike; copies training"}

    page = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert re.search(r"\| deep! \|.*\| all alike, copies training \|", page)
    assert re.search(r"\| mean \|.*\| constant by design \|", page)
    report = in_report(tmp_path, frame, notes)
    assert '<span class="badge suspect">copies training</span>' in report
    assert '<span class="badge">constant by design</span>' in report
    shown = on_terminal(frame, notes)
    assert "\n    all alike " in shown
    assert "\n    constant by design " in shown
    for text in (page, report, shown):
        assert why in flat(text)
        assert copied in flat(text)
        assert "by design: all queries answered alike" in flat(text)
    assert max(map(len, shown.splitlines())) <= 80


def test_without_a_badge_tables_are_as_they_were() -> None:
    frame = board()
    after = add_model_facts(frame, {key("deep"): facts()})

    assert as_markdown(tables_of(after)) == as_markdown(tables_of(frame))
    assert on_terminal(after) == on_terminal(frame)
    assert "tells" not in as_markdown(tables_of(after))


def test_a_prediction_that_was_not_looked_at_is_told() -> None:
    known = {key("deep"): ModelFacts().with_prediction("'prediction.h5ad' cannot be read", [])}
    notes = make_notes(add_model_facts(board(), known), known, METRICS)

    assert [note.text for note in notes] == ["deep: not examined: 'prediction.h5ad' cannot be read"]


def test_a_leaderboard_without_rows_has_the_columns_and_nothing_to_tell() -> None:
    frame = add_model_facts(board(scores_of({})), {})

    assert {"tells", "coverage", "isolation"} <= {*frame.columns}
    assert make_notes(frame, {}, METRICS) == []


# --- too good


def test_a_score_as_good_as_the_technical_duplicate_is_too_good_in_the_metrics_own_direction() -> None:
    answers = np.array([[3.0, 3.0], [2.0, 1.0], [1.5, 1.5], [1.4, np.nan], [2.0, np.nan]])

    # The second is the duplicate. The last two are compared on the first row alone: 1.4 and 2 against 2.
    assert reaches_duplicate(answers, 1, -1.0, 0.0).tolist() == [False, False, True, True, True]
    assert reaches_duplicate(answers, 1, 1.0, None).tolist() == [True, False, True, False, True]


def test_being_as_good_as_a_duplicate_that_is_perfect_says_nothing() -> None:
    answers = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])

    assert not reaches_duplicate(answers, 1, 1.0, 1.0).any()
    assert reaches_duplicate(answers, 1, 1.0, None).tolist() == [True, False, False]


def test_too_good_is_told_by_metric_with_a_sign_at_the_score(tmp_path: Path) -> None:
    higher = {model: [1 / value for value in values] for model, values in VALUES.items()}
    half = pd.concat(
        [
            scores_of({**VALUES, "deep": [0.9, 1.0, 0.9, 1.0], DUPLICATE: [1.0] * 4}),
            scores_of({**higher, "deep": [0.1] * 4, DUPLICATE: [0.9] * 4}, "pearson"),
        ]
    )
    half.loc[half["model"] == DUPLICATE, "plugin"] = "pertharness"
    frame = board(pd.concat([scores_of(VALUES), scores_of(higher, "pearson")]), half)
    after = add_model_facts(frame, {})
    notes = make_notes(after, {}, METRICS)

    assert "at_duplicate" not in after
    assert after[after["tells"] != ""][["model", "metric", "tells"]].drop_duplicates().values.tolist() == [
        ["deep", "l2", "too good"]
    ]
    assert len(notes) == 1
    assert notes[0].text.startswith("deep: too good (l2): as good as a repeated measurement with half of the cells")
    page = as_markdown(tables_of(after), notes)
    assert re.search(r"\| deep \| 2.550! \[", page)
    assert "as good as a repeated measurement" in flat(on_terminal(after, notes))
    assert "2.550! [" in in_report(tmp_path, after, notes)


def test_where_a_metric_has_no_range_nothing_is_too_good() -> None:
    half = scores_of({**VALUES, DUPLICATE: [9.0] * 4})
    frame = board(half=half)

    assert set(frame["range"]) == {"no"}
    assert set(add_model_facts(frame, {})["tells"]) == {""}


# --- coverage


def test_a_score_over_half_of_the_genes_does_not_look_like_any_other(tmp_path: Path) -> None:
    scores = pd.concat([scores_of(VALUES), scores_of(VALUES, variant=COMMON_GENES)])
    frame = add_model_facts(board(scores), {key("deep"): facts(n_predicted=20), key("mean"): facts()})
    write_leaderboard(frame, tmp_path, tables_of(frame))

    table = pd.read_csv(tmp_path / "leaderboard.csv")
    assert table.groupby("model")["coverage"].first().dropna().to_dict() == {"deep": 0.5, "mean": 1.0}
    page = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "| genes |" in page.splitlines()[6]
    assert re.search(r"\| 2 \| deep \| 2.550\\~ \[.*\| 50 % \|", page)
    assert re.search(r"\| 3 \| mean \| 3.150 \[.*\| 100 % \|", page)
    assert "| deep | 2.550 (2) |" in page  # over the genes that all models predict nothing is filled in
    shown = on_terminal(frame)
    assert "2.550~ [2.475, 2.675]" in shown
    assert "50 %" in shown
    assert max(map(len, shown.splitlines())) <= 80
    report = in_report(tmp_path, frame, [])
    assert "<th>genes</th>" in report
    assert "<td>50 %</td>" in report
    for text in (page, shown, report):
        assert "does not predict all genes" in flat(text)


def test_a_share_is_rounded_so_that_only_all_is_all() -> None:
    shares = {1: "100 %", 0.99999: "99.9 %", 0.5: "50 %", 0.3333: "33.3 %", 0.0001: "<0.1 %", 0: "0 %"}
    for share, text in shares.items():
        many = facts(n_values=100_000, n_predicted=round(share * 100_000))
        (table,) = tables_of(add_model_facts(board(), {key("deep"): many}))
        assert {line.model: line.coverage for line in table.lines}["deep"] == text


# --- isolation


def test_the_weakest_isolation_of_a_models_jobs_counts() -> None:
    none, bwrap = Isolation(), Isolation(mechanism="bwrap")
    for weaker, stronger in ((none, PARTIAL), (none, LANDLOCK), (PARTIAL, LANDLOCK), (PARTIAL, bwrap)):
        assert facts(weaker, stronger).isolation == facts(stronger, weaker).isolation == weaker.text()
    assert facts().isolation == ""


def test_one_line_says_under_which_isolation_all_predictions_were_made() -> None:
    known = {key("deep"): facts(LANDLOCK), key("mean"): facts(LANDLOCK), key("from_file"): facts()}
    frame, notes = add_model_facts(board(), known), isolation_notes(known)

    assert [(note.title, note.text) for note in notes] == [("", "Isolation of the predictions: landlock")]
    shown = on_terminal(frame, notes)
    assert shown.rstrip().endswith("Isolation of the predictions: landlock")
    assert shown.count("landlock") == 1  # no column
    assert as_markdown(tables_of(frame), notes).rstrip().endswith("Isolation of the predictions: landlock")


def test_models_that_were_made_under_less_are_named_and_have_a_column(tmp_path: Path) -> None:
    known = {key("deep"): facts(PARTIAL), key("mean"): facts(LANDLOCK), key("additive"): facts(LANDLOCK, Isolation())}
    frame, notes = add_model_facts(board(), known), isolation_notes(known)
    line = (
        "Isolation of the predictions: landlock; landlock (partial): deep on demo double; none: additive on demo double"
    )

    for text in (on_terminal(frame, notes), as_markdown(tables_of(frame), notes), in_report(tmp_path, frame, notes)):
        assert line in flat(text)
        assert "isolation" in text
        assert text.count("(partial)") == 2
        assert "/home/me/screens" in text


def test_nothing_is_said_of_isolation_where_no_plugin_predicted() -> None:
    assert isolation_notes({key("from_file"): facts()}) == []


def test_hostile_names_in_what_is_told_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    known = {key(f"odd{HOSTILE}"): facts(PARTIAL, alike=True), key("mean"): facts(LANDLOCK)}
    frame = add_model_facts(board(scores_of({**VALUES, f"odd{HOSTILE}": [3.0] * 4})), known)
    notes = make_notes(frame, known, METRICS)
    for text in (
        in_report(tmp_path, frame, notes),
        as_markdown(tables_of(frame), notes),
        on_terminal(frame, notes, width=200),
    ):
        assert not set("\x00\x1b\u202e") & set(text)
        for name in ("odd", "/odd"):
            assert f"{name}\\x00\\x1b[31m\\u202e" in text.replace("\\\\", "\\")


def test_every_badge_and_column_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    for name in (*COLUMNS, *SUSPECT, CONSTANT, COPIES_BY_DESIGN):
        assert f"`{name}`" in page
    assert str(NAME_WIDTH) in page


# --- observed values of held-out cells

ORACLE_MEANS = "*: was given observed values of the held-out cells, the expression of their target genes"


def test_a_model_with_an_oracle_is_marked_on_every_table_with_the_words(tmp_path: Path) -> None:
    scores = pd.concat([scores_of(VALUES), scores_of({**VALUES, "additive": [1, 2, 3, 4]}, "pearson")])
    scores["params"] = np.where(scores["model"] == "mean", "k=*", "")  # a grid is no oracle
    known = {key("deep"): facts(LANDLOCK, declared={"oracle": True}), key("additive"): facts(LANDLOCK)}
    frame = add_model_facts(board(scores), known)
    assert dict(zip(frame["model"], frame["oracle"], strict=True)) == {"additive": "", "deep": "yes", "mean": ""}
    report = in_report(tmp_path, frame, [])
    for text in (on_terminal(frame), as_markdown(tables_of(frame)).replace("\\*", "*"), report):
        assert flat(text).count(ORACLE_MEANS) == 1
        assert re.search(r"\bdeep\*", text)
        assert not re.search(r"\bdeep\b(?![*:,])", text)
        assert "additive*" not in text
        assert "mean[k=*]*" not in text
    assert "deep*" in json.dumps([line.model for table in tables_of(frame) for line in table.lines])


def test_without_an_oracle_no_table_speaks_of_it(tmp_path: Path) -> None:
    frame = add_model_facts(board(), {key("deep"): facts(LANDLOCK)})
    for text in (on_terminal(frame), as_markdown(tables_of(frame)), in_report(tmp_path, frame, [])):
        assert "*:" not in text.replace("\\", "")
        assert "deep*" not in text.replace("\\", "")
        assert "observed values" not in text


def test_signs_of_a_name_stand_side_by_side() -> None:
    scores = scores_of(VALUES)
    scores.loc[scores["model"] == "deep", "selected_on_scored"] = True
    known = {key("deep"): facts(LANDLOCK, declared={"oracle": True}, alike=True)}
    [first, *_] = tables_of(add_model_facts(board(scores), known))
    assert "deep*^!" in [line.model for line in first.lines]
