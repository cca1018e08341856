from __future__ import annotations

import dataclasses
import gzip
import io
import json

import numpy as np
import pandas as pd
import pytest
from pertharness.contract.cards import MetricOffer
from pertharness.host.leaderboard.compare import build_leaderboard
from pertharness.host.leaderboard.comparison import Comparison, TaskSettings
from pertharness.host.leaderboard.markdown import as_markdown
from pertharness.host.leaderboard.score_file import write_scores
from pertharness.host.leaderboard.tables import Note, clean, make_tables
from pertharness.host.leaderboard.terminal import print_leaderboard
from pertharness.host.leaderboard.write import (
    summarise_costs,
    write_costs,
    write_leaderboard,
    write_tables,
)
from pertharness.host.text.csv_text import plain_text
from rich.console import Console

METRICS = {
    "l2": MetricOffer(id="l2", direction="lower", best=0.0, summary="L2 distance on the 1000 most expressed genes."),
    "pearson": MetricOffer(id="pearson", direction="higher", best=1.0),
}
SETTINGS = {("demo", "double"): TaskSettings("additive", ("additive", "mean", "no_change"))}
COMPARISON = Comparison(metric="l2", resamples=100)
HOSTILE = "x|`y`](javascript:z)<script>alert(1)</script>\n[red]z[/red]\x1b[31m\u202e"


def make_scores():
    rng = np.random.default_rng(0)
    axes = {"metric": list(METRICS), "model": ["additive", "mean", "no_change", "gears", "other"], "seed": [1, 2]}
    axes["perturbation"] = [f"P{i}" for i in range(8)]
    scores = pd.MultiIndex.from_product(list(axes.values()), names=list(axes)).to_frame(index=False)
    scores = scores.assign(
        dataset="demo", task="double", split="double", training_seed=0, plugin="some", params="", gene="",
        variant="default", coordinate=np.nan, part="test", selected_on_scored=False, state="done",
        value=3 + rng.random(len(scores)),
    )  # fmt: skip
    scores.loc[scores["model"] == "additive", "value"] -= 2
    scores.loc[scores["model"] == "gears", ["value", "state"]] = [np.nan, "skipped"]
    scores.loc[scores["model"] == "other", "params"] = HOSTILE
    undefined = (scores["model"] == "no_change") & (scores["metric"] == "pearson")
    scores.loc[undefined, ["value", "state"]] = [np.nan, "undefined"]
    return scores


def make_costs(scores):
    jobs = scores[["dataset", "task", "seed", "training_seed", "plugin", "model", "params"]].drop_duplicates()
    phases = [
        jobs.assign(phase=phase, wall_s=wall_s, peak_rss_mb=peak * jobs["seed"])
        for phase, wall_s, peak in (("fit", 60.0, 600.0), ("predict", 6.0, 100.0), ("job", 70.0, 700.0))
    ]
    costs = pd.concat(phases, ignore_index=True)
    return costs.assign(stage="predictions", cpu_s=1.0, peak_gpu_mb=None, device="cpu", state="done")


@pytest.fixture
def scores():
    return make_scores()


@pytest.fixture
def frame(scores):
    reasons = {("demo", "double", "gears"): f"needs a CUDA device {HOSTILE}"}
    strata = pd.DataFrame({"dataset": "demo", "perturbation": ["P0", "P1"], "effect": [1.0, 2.0], "on_target": "yes"})
    return build_leaderboard(scores, METRICS, SETTINGS, COMPARISON, strata, reasons)


@pytest.fixture
def tables(frame, scores):
    return make_tables(frame, METRICS, SETTINGS, COMPARISON, summarise_costs(make_costs(scores)))


def shown(tables, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_leaderboard(tables, console, verbose=True)
    return console.file.getvalue()


def test_costs_are_the_median_elapsed_time_and_the_largest_memory(scores):
    costs = make_costs(scores)
    mine = (costs["model"] == "mean") & (costs["seed"] == 2)
    costs.loc[mine & (costs["phase"] == "job"), "wall_s"] = 96.0
    costs.loc[(costs["model"] == "gears"), "state"] = "failed"
    summary = summarise_costs(costs).set_index("model")
    assert summary.loc["mean", "wall_s"] == 83.0  # median of 70 and 96
    assert summary.loc["mean", "peak_rss_mb"] == 1400.0  # of job 2
    assert "gears" not in summary.index


def test_no_costs_at_all_leave_the_columns_empty(frame):
    columns = [*make_costs(make_scores()).columns]
    tables = make_tables(frame, METRICS, SETTINGS, COMPARISON, summarise_costs(pd.DataFrame(columns=columns)))
    assert {line.time for line in tables[0].lines} == {"-"}


def test_first_table_is_the_primary_metric_and_says_what_it_shows(tables):
    first = tables[0]
    assert (first.metric, first.stratum, first.primary) == ("l2", "all", True)
    assert first.title == "demo, held-out doubles"
    assert first.sentence.startswith(
        "l2: L2 distance on the 1000 most expressed genes; lower is better. "
        "Mean over 16 predictions of 8 perturbations in 2 splits, those that additive,"
    )
    assert "no_change" not in next(table for table in tables if table.metric == "pearson").sentence
    best = first.lines[0]
    assert (best.model, best.rank, best.verdict, best.scored) == ("additive", "1", "reference", "16/16")
    assert (best.time, best.memory) == ("1.2 min", "1.4 GB")
    assert [line.model for line in first.lines][-1] == "gears"
    assert first.lines[-1].score == "skipped"


def test_hostile_text_is_shown_and_not_obeyed(tables):
    text = shown(tables, width=200)
    assert "[red]z[/red]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    page = as_markdown(tables)
    assert "<script>" not in page
    assert "](" not in page
    assert "\\|\\`y\\`" in page
    lines = [line for line in page.splitlines() if line.startswith("|")]
    columns = {len(line.replace("\\|", "").split("|")) for line in lines}
    assert columns == {9, 4}  # seven columns and two, plus the empty ends: no name breaks a table


def test_clean_text_is_one_line_of_visible_characters():
    assert clean("a\n b\tc\x00\u200b\x1b[0m\ud800") == "a b c\\x00\\u200b\\x1b[0m\\ud800"


def test_terminal_fits_eighty_columns_and_breaks_no_number(tables):
    text = shown(tables)
    assert max(len(line) for line in text.splitlines()) <= 80
    for line in tables[0].lines:
        assert line.score in text
    assert "gears: skipped: needs a CUDA device" in text
    assert "no_change" in text


def test_a_narrow_terminal_says_where_a_number_is_cut(tables):
    assert "…" in shown(tables, width=30)


def test_a_model_without_a_score_says_why(tables):
    pearson = next(table for table in tables if table.metric == "pearson" and table.stratum == "all")
    assert any(reason.startswith("no_change: not scored: 16 undefined") for reason in pearson.reasons)


def test_leaderboard_files_are_the_same_bytes_for_shuffled_scores(tmp_path, scores, frame, tables):
    write_leaderboard(frame, tmp_path / "a", tables)
    strata = pd.DataFrame({"dataset": "demo", "perturbation": ["P1", "P0"], "effect": [2.0, 1.0], "on_target": "yes"})
    shuffled = scores.sample(frac=1, random_state=1)
    reasons = {("demo", "double", "gears"): f"needs a CUDA device {HOSTILE}"}
    again = build_leaderboard(shuffled, METRICS, SETTINGS, COMPARISON, strata, reasons)
    costs = summarise_costs(make_costs(shuffled))
    write_leaderboard(again, tmp_path / "b", make_tables(again, METRICS, SETTINGS, COMPARISON, costs))
    for name in ("leaderboard.csv", "leaderboard.json", "leaderboard.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_csv_and_json_hold_the_same_rows_and_nothing_is_nan(tmp_path, frame, tables):
    write_leaderboard(frame, tmp_path, tables)
    table = pd.read_csv(tmp_path / "leaderboard.csv", keep_default_na=False)
    content = json.loads((tmp_path / "leaderboard.json").read_text())
    assert content["format"] == 1
    assert len(content["rows"]) == len(table) == len(frame)
    for row, written in zip(content["rows"], table.to_dict("records"), strict=True):
        assert list(row) == list(written)
        row["note"] = plain_text(row["note"])
        assert {key: "" if value is None else str(value) for key, value in row.items()} == {
            key: str(value) for key, value in written.items()
        }
    text = (tmp_path / "leaderboard.csv").read_text().lower()
    assert "nan" not in text.replace("undefined", "")
    assert table.loc[0, "rank"] == "1"  # not 1.0


def test_scores_are_the_same_bytes_in_any_order_and_keep_every_digit(tmp_path, scores):
    write_scores(scores, tmp_path / "one.csv.gz")
    write_scores(scores.sample(frac=1, random_state=1), tmp_path / "two.csv.gz")
    packed = (tmp_path / "one.csv.gz").read_bytes()
    assert packed == (tmp_path / "two.csv.gz").read_bytes()
    assert packed[3:8] == bytes(5)  # no name, no time (RFC 1952: FLG, MTIME)
    text = gzip.decompress(packed).decode()
    header = "dataset,split,seed,plugin,model,params,perturbation,gene,metric,variant,coordinate,value,state"
    assert text.startswith(header)
    back = pd.read_csv(io.StringIO(text), dtype={"value": str}).astype({"value": float})
    assert sorted(back["value"].dropna()) == sorted(scores["value"].dropna())
    assert back["value"].isna().sum() == scores["value"].isna().sum()


def test_costs_are_written_sorted(tmp_path, scores):
    write_costs(make_costs(scores).sample(frac=1, random_state=1), tmp_path / "costs.csv")
    table = pd.read_csv(tmp_path / "costs.csv")
    assert table["model"].iloc[0] == "additive"
    assert len(table) == len(make_costs(scores))


def test_a_terminal_shows_the_usual_variant_of_each_metric_and_no_other(tables):
    primary = next(table for table in tables if table.primary)
    usual = dataclasses.replace(primary, metric="other", primary=False)
    unusual = dataclasses.replace(usual, metric="crowd (no-targets)", usual=False)
    text = shown([primary, usual, unusual])
    assert "other" in text
    assert "crowd" not in text
    assert text.count(f" {primary.lines[0].model} ") >= 1


def test_a_metric_of_whole_splits_shows_its_standard_error_also_where_there_is_no_such_sign(tables):
    primary = next(table for table in tables if table.primary)
    line = dataclasses.replace(primary.lines[0], value="0.41 ± 0.02", rank="1")
    splits = dataclasses.replace(primary, metric="auprc", primary=False, whole_splits=True, lines=(line,))
    assert "0.41 ± 0.02 (1)" in shown([primary, splits])
    page = as_markdown([primary, splits])
    assert "### demo, held-out doubles: mean over splits ± standard error" in page
    old = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    print_leaderboard([primary, splits], Console(file=old, width=80), verbose=True)
    assert b"0.41 +- 0.02 (1)" in old.buffer.getvalue()


def test_what_nobody_has_a_value_for_is_named_and_not_tabled(tables):
    primary = next(table for table in tables if table.primary)
    silent = [dataclasses.replace(primary, metric=name, primary=False, silent=True) for name in ("one", "two")]
    note = Note("small, unseen singles", "not scored: interactions: 2 doubles")
    for text in (shown([primary, *silent], width=200), as_markdown([primary, *silent])):
        assert "no model has a value: one, two" in text
        assert "one (rank)" not in text
    console = Console(file=io.StringIO(), width=200)
    print_leaderboard([primary], console, [note])
    for text in (console.file.getvalue(), as_markdown([primary], [note])):
        assert text.index("small, unseen singles") < text.index("not scored: interactions: 2 doubles")


def test_many_metrics_are_shown_in_grids_that_fit(tables):
    primary = next(table for table in tables if table.primary)
    others = [dataclasses.replace(primary, metric=f"quite_a_long_metric_{i}", primary=False) for i in range(7)]
    text = shown([primary, *others])
    assert all(f"quite_a_long_metric_{i} (rank)" in text for i in range(7))
    assert max(map(len, text.splitlines())) <= 80


def test_tables_of_an_earlier_run_go_and_an_empty_folder_with_them(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "old.csv").write_text("x\n")
    curves = pd.DataFrame({"metric": ["roc"], "mean": [0.1 + 0.2]})
    told, _ = write_tables({}, {"curves": ("Mean", curves)}, tmp_path / "tables", {})
    assert told["curves"] == {"summary": "Mean", "rows": 1}
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["curves.csv"]
    assert (tmp_path / "tables" / "curves.csv").read_text() == "metric,mean\nroc,0.30000000000000004\n"
    assert write_tables({}, {"curves": ("Mean", curves[:0])}, tmp_path / "tables", {}) == ({}, {})
    assert not (tmp_path / "tables").exists()


def test_the_sign_of_a_mean_over_other_predictions_fits_those_who_answered_less_and_more(scores):
    metrics = {**METRICS, "auprc": MetricOffer(id="auprc", direction="higher", best=1.0, level="task")}
    whole = scores[scores["perturbation"].eq("P0") & scores["metric"].eq("l2")].assign(metric="auprc", perturbation="")
    additive = scores["model"] == "additive"
    scores.loc[additive & scores["perturbation"].eq("P7"), ["value", "state"]] = [np.nan, "unanswered"]
    settings = {("demo", "double"): TaskSettings("additive", ("additive", "mean"))}
    strata = pd.DataFrame({"dataset": [], "perturbation": [], "effect": [], "on_target": []}, dtype=object)
    frame = build_leaderboard(pd.concat([scores, whole]), metrics, settings, COMPARISON, strata, {})
    costs = summarise_costs(make_costs(scores))
    tables = make_tables(frame, metrics, settings, COMPARISON, costs)
    [shown_whole] = [table for table in tables if table.metric == "auprc" and table.stratum == "all"]
    marked = {line.model.partition("[")[0]: "#" in line.value for line in shown_whole.lines if line.value != "skipped"}
    # The common set is what additive and mean answered: no_change and other answered P7, too.
    assert marked == {"additive": False, "mean": True, "no_change": True, "other": True}
    words = "#: not ranked, as its mean is over other predictions than the common set: over a part of these or,"
    for text in (shown(tables, width=200), as_markdown(tables)):
        assert words in " ".join(text.split())
        assert "where a split has one value, perhaps over more." in " ".join(text.split())
    assert words not in as_markdown([table for table in tables if table.metric != "auprc"])
