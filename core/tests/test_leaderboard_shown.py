"""What tables show of large numbers, long names and messages, and of characters that cannot be seen."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pertharness.contract.cards import MetricOffer
from pertharness.host.leaderboard.compare import build_leaderboard
from pertharness.host.leaderboard.comparison import Comparison, TaskSettings
from pertharness.host.leaderboard.markdown import as_markdown
from pertharness.host.leaderboard.tables import Note, Table, make_tables, shortened
from pertharness.host.leaderboard.terminal import print_leaderboard
from pertharness.host.report import write_report
from rich.console import Console

METRICS = {"l2": MetricOffer(id="l2", direction="lower", best=0.0)}
SETTINGS = {("demo", "double"): TaskSettings("additive", ("additive",))}
COMPARISON = Comparison(metric="l2", resamples=100)
STRATA = pd.DataFrame({"dataset": [], "perturbation": [], "effect": [], "on_target": []}, dtype=object)
COSTS = pd.DataFrame(columns=["dataset", "task", "plugin", "model", "params", "wall_s", "peak_rss_mb"])
HOSTILE = "\x00\x1b[31m\u202e|<script>"


def tables_of(values: dict[str, list[float]]) -> list[Table]:
    """Return the tables of models with these scores of P0, P1, ..."""
    rows = [(model, f"P{i}", value) for model, given in values.items() for i, value in enumerate(given)]
    scores = pd.DataFrame(rows, columns=["model", "perturbation", "value"]).assign(
        dataset="demo", task="double", split="double", seed=1, training_seed=1, plugin="some", params="", gene="",
        metric="l2", variant="default", coordinate=np.nan, state="done", part="test", selected_on_scored=False,
    )  # fmt: skip
    frame = build_leaderboard(scores, METRICS, SETTINGS, COMPARISON, STRATA, {})
    return make_tables(frame, METRICS, SETTINGS, COMPARISON, COSTS)


def on_terminal(tables: list[Table], notes: list[Note] | None = None, width: int = 80, *, verbose: bool = True) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_leaderboard(tables, console, notes or [], verbose=verbose)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def in_report(folder: Path, tables: list[Table], notes: list[Note], title: str = "Leaderboard") -> str:
    write_report(tables, {"notes": f"a{HOSTILE}"}, folder / "report", title, notes=notes)
    return (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_one_huge_number_takes_no_room_from_names_and_no_digits_from_others(tmp_path: Path) -> None:
    deep = [1e301, 3e300, 3e300, 3e300]
    tables = tables_of(
        {"additive": [0.021, 0.022, 0.023, 0.02], "a_model_with_a_name": [0.5, 0.4, 0.3, 0.4], "deep": deep}
    )
    for text in (on_terminal(tables), as_markdown(tables), in_report(tmp_path, tables, [])):
        assert "4.75e+300" in text
        assert "0.0215 [" in text
        assert "a_model_with_a_name" in text
        assert not re.search(r"\d{12}", text)
    assert max(map(len, on_terminal(tables).splitlines())) <= 80


@pytest.mark.parametrize("width", [60, 50, 40, 30])
def test_names_keep_their_least_width_on_a_narrow_screen(width: int) -> None:
    tables = tables_of({"additive": [2e5, 3e5, 4e5], "a_model_with_a_name": [5e5, 6e5, 8e5]})
    lines = on_terminal(tables, width=width).splitlines()

    assert any(" a_model_with" in line for line in lines)
    assert max(map(len, lines)) <= width


def test_a_narrow_screen_leaves_out_costs_and_intervals_before_it_cuts_a_number() -> None:
    tables = tables_of({"additive": [2e5, 3e5, 4e5], "a_model_with_a_name": [5e5, 6e5, 8e5]})
    score, value = "300000.00 [215833.33, 384166.67]", "300000.00 "
    for width, shown, left_out in (
        (100, score, ""),
        (80, score, "time, memory"),
        (50, value, "interval, time, memory"),
    ):
        text = on_terminal(tables, width=width)
        assert shown in text
        assert "…" not in text
        assert ("Not shown" in text) == bool(left_out)
        assert f"Not shown for lack of room: {left_out}; leaderboard.md" in " ".join(text.split()) or not left_out


def with_others(primary: Table, *names: str) -> list[Table]:
    """Return a table with others of the same models after it."""
    return [primary, *(dataclasses.replace(primary, metric=name, primary=False) for name in names)]


def test_the_first_screen_is_one_table_with_two_more_metrics_at_most() -> None:
    [primary] = [table for table in tables_of({"additive": [2.0, 3.0], "mean": [4.0, 5.0]}) if table.primary]
    text = on_terminal(with_others(primary, "pearson", "delta", "hidden"), width=100, verbose=False)
    (header,) = [line for line in text.splitlines() if line.startswith(" # ")]
    assert header.split() == ["#", "model", "l2", "[95", "%]", "pearson", "delta", "scored", "vs", "additive"]
    (row,) = [line.split() for line in text.splitlines() if line.split()[:2] == ["2", "mean"]]
    value = primary.lines[1].value
    assert row[2:].count(value) == 3  # its own, and those of the two others
    for word in ("hidden", "memory", "standard error", "Mean over"):
        assert word not in text
    assert "lower is better." in text
    assert all(word in on_terminal(with_others(primary, "a", "b", "hidden")) for word in ("hidden", "memory:"))


def test_a_narrow_first_screen_leaves_out_metrics_before_intervals_and_cuts_no_number() -> None:
    [primary] = [table for table in tables_of({"additive": [2e5, 3e5, 4e5], "mean": [5e5, 6e5, 8e5]}) if table.primary]
    tables = with_others(primary, "pearson", "pearson_delta")
    for width, header in ((100, "pearson_delta"), (85, "l2 [95 %]"), (50, "l2  ")):
        text = on_terminal(tables, width=width, verbose=False)
        assert header in text
        assert "…" not in text
        assert ("pearson_delta" in text) == (width == 100)
        assert max(map(len, text.splitlines())) <= width


def test_a_long_name_is_folded_before_its_parameters() -> None:
    name = "linear[G=embed:scgpt, P=spectral]"
    text = on_terminal(tables_of({"additive": [2.0, 3.0], name: [4.0, 5.0], "m[k=1]": [4.0, 5.5]}), verbose=False)
    lines = [line.split() for line in text.splitlines()]
    assert ["2", "linear"] in [words[:2] for words in lines]
    assert "[G=embed:scgpt," in [words[0] for words in lines if words]
    assert ["3", "m[k=1]"] in [words[:2] for words in lines]


def test_control_characters_of_names_and_notes_are_escaped_and_html_is_text(tmp_path: Path) -> None:
    tables = tables_of({"additive": [2.0, 2.2], f"odd{HOSTILE}": [3.0, 3.1]})
    notes = [Note(f"other{HOSTILE}", f"not scored{HOSTILE}")]
    report = in_report(tmp_path, tables, notes, title=f"Run{HOSTILE}")
    page, shown = as_markdown(tables, notes), on_terminal(tables, notes, width=200)

    for text in (report, page, shown):
        assert not set("\x00\x1b\u202e") & set(text)
        for name in ("odd", "other", "not scored"):
            assert f"{name}\\x00\\x1b[31m\\u202e" in text.replace("\\\\", "\\")
    assert "Run\\x00" in report
    assert "<script" not in report
    assert "<script" not in page


def test_a_long_message_is_cut_and_says_where_the_rest_is() -> None:
    text = shortened("word " * 1000, "manifest.json")

    assert text.endswith("... (cut at 600 characters, the rest is in manifest.json)")
    assert len(text) < 700
    assert shortened("x" * 600) == "x" * 600
