from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertharness.contract.cards import TableOffer
from pertharness.host.leaderboard.pooled import Piece, join_table
from pertharness.host.reproduce.point_by_point import SheetResult, write_results
from pertharness.host.reproduce.side_by_side import Row, write_rows
from pertharness.host.text.csv_text import FREE_TEXT, as_csv, as_row, plain_text, quote


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_free_text_is_no_formula(sign):
    assert plain_text(f"{sign}HYPERLINK(1)").startswith("'")
    assert plain_text(f"says {sign}1") == f"says {' ' if sign == chr(13) else sign}1"
    assert plain_text(f"\x00{sign}1")[0] in " '"  # a spreadsheet may pass over the control character


def test_labels_and_numbers_stay_as_they_are_and_free_text_of_all_rows_is_made_plain():
    frame = pd.DataFrame({"perturbation": ["-A", "=B"], "value": [-0.5, np.nan], "note": ["=1+1", "fine"]})
    assert as_csv(frame) == "perturbation,value,note\n-A,-0.5,'=1+1\n=B,,fine\n"


@given(st.text(st.characters(codec=None), max_size=20), st.text(st.characters(codec="utf-8"), max_size=5))
def test_no_character_of_a_text_breaks_a_row(text, other):
    written = as_row([plain_text(text), plain_text(other), "x"])
    written.encode()
    [row] = csv.reader(io.StringIO(written, newline=""))
    assert row == [plain_text(text), plain_text(other), "x"]
    assert not any(ord(character) < 32 and character not in "\n\t" for cell in row for character in cell)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00")), min_size=1, max_size=3))
def test_cells_are_quoted_as_the_standard_library_does(cells):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    assert as_row(cells) == text.getvalue()
    assert quote("a\rb") == '"a\rb"'  # which the library leaves bare before Python 3.13


def test_free_text_in_the_tables_of_scorers_is_made_plain_and_labels_are_not(tmp_path):
    assert {"message", "notes", "reason", "warnings"} <= FREE_TEXT
    path = tmp_path / "one.csv"
    path.write_text('gene,x,warnings,name\n-A,-1,"=1+1,2","b\rc"\n', encoding="utf-8")
    piece = Piece("demo", "double", "some", "gears", "", 1, "double", 1, path, "0")
    join_table(TableOffer(name="entries", level="entry"), [piece], tmp_path / "joined.csv")
    with (tmp_path / "joined.csv").open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert [row[name] for name in ("gene", "x", "warnings", "name")] == ["-A", "-1", "'=1+1,2", "b\rc"]


def test_reasons_beside_published_numbers_are_no_formulas(tmp_path):
    row = Row("a", "1", "demo", "share", "", -1.0, None, None, "not measured", "", "=cmd()", "Fig. 1")
    write_rows([row], tmp_path, "title")
    assert pd.read_csv(tmp_path / "reproduction.csv").loc[0, ["published", "reason"]].tolist() == [-1.0, "'=cmd()"]
    write_results([SheetResult("a.xlsx", "-b", "l2", 1, 0, None, None, "@x\x00")], tmp_path / "source_data.csv")
    assert pd.read_csv(tmp_path / "source_data.csv").loc[0, ["sheet", "note"]].tolist() == ["-b", "'@x "]
