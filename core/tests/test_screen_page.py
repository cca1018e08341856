"""What a screen can show and what it lacks, by hand; and the page that says so, which is a page."""

from __future__ import annotations

from typing import Any

import pytest
from pertharness.host.screen.assemble import assemble_facts
from pertharness.host.screen.gaps import group
from pertharness.host.screen.page import write_page

SINGLES = [f"G{i}" for i in range(8)]
DOUBLES = [f"G{i}+G{j}" for i in range(4) for j in range(4, 7)]


def make_facts(n_cells: dict[str, int | None], **changed: Any) -> dict[str, Any]:
    """Facts of a file of cells as they are found, with what follows; `n_cells`: perturbation -> its number."""
    listed = [
        {"perturbation": name, "label_given": name, "genes": name, "n_cells": number}
        for name, number in {"control": 500, **n_cells}.items()
    ]
    n_obs = sum(number or 1 for number in [500, *n_cells.values()])
    found = {
        "file": "/data/screen.h5ad", "container": "h5ad", "size_mb": 12.3, "n_obs": n_obs, "n_genes": 2000,
        "matrix": {"layout": "csr", "type": "float32", "compression": "gzip"}, "layers": [],
        "n_in_context": n_obs, "n_used": n_obs, "level": "cells", "context": "K562",
        "labels": {"column": "condition", "controls": [{"label": "ctrl", "n_rows": 500}], "separator": "+"},
        "left_out": [], "genes": {"ensembl_ids": True}, "targets": {"n": 8, "n_genes": 8, "absent": []},
        "has_totals": True, "has_halves": False, "has_counts": True, "modality": "crispri",
        "scale": {"read_as": "X taken as log1p of counts per 10 000", "n_judged": 10_112, "n_rows": 600_000},
        "perturbations": listed, "notes": [],
    }  # fmt: skip
    return assemble_facts({**found, **changed}, "screen")


def page_of(facts: dict[str, Any], width: int = 100) -> str:
    """The page, its line breaks taken back."""
    return " ".join(write_page(facts, width).split())


def test_doubles_and_singles_are_counted_as_the_splits_hold_them_out() -> None:
    facts = make_facts(dict.fromkeys([*SINGLES[1:], *DOUBLES], 40))
    double, single = facts["tasks"]["double"], facts["tasks"]["single"]
    # 12 doubles: 6 train, of the other 6 half are test. G0 was not measured alone: its 3 doubles have no additive
    # expectation, so that 9 have one.
    assert (double["n_perturbations"], double["n_test"], double["n_answerable"]) == (12, [3, 3], 9)
    assert 3 < double["n_held_out"] <= 12
    assert double["n_held_out_answerable"] >= double["n_held_out"] - 3
    # 7 singles in 5 folds, of which each of the seeds 1 to 5 tests one: 1 or 2 at a time, each of the 7 once.
    assert (single["n_perturbations"], single["n_test"], single["n_held_out"]) == (7, [1, 2], 7)
    assert (single["enough"], single["resolution"]) == (True, round(1.96 / 7**0.5, 2))  # 0.74
    said = page_of(facts)
    assert "3 of 12 doubles held out for the test in each of 5 splits (seeds 1 to 5)" in said
    assert "additive can answer 9 of 12 doubles" in said
    assert (
        "1 to 2 of 7 singles held out for the test in each of 5 splits (seeds 1 to 5), 7 different ones in all" in said
    )
    assert "differ on average by more than 0.74 of the standard deviation" in said


def test_too_few_perturbations_to_tell_models_apart_are_said_with_the_number_that_decides() -> None:
    facts = make_facts(dict.fromkeys(SINGLES[:5], 40))
    assert facts["tasks"]["single"]["n_held_out"] == 5
    assert (facts["tasks"]["single"]["enough"], facts["tasks"]["single"]["resolution"]) == (False, None)
    said = page_of(facts)
    # 2 / 2^5 = 0.0625
    assert "too few to separate models: below 6 held-out perturbations there is no verdict" in said
    assert "better at all 5 with a chance of 0.06" in said
    assert "double not possible: no doubles" in said


def test_guides_of_a_gene_are_held_out_together() -> None:
    found = [{"perturbation": "control", "label_given": "NT", "genes": "control", "n_cells": 500}]
    for gene in SINGLES[:4]:
        found += [
            {"perturbation": f"{gene}-{k}", "label_given": f"{gene}-{k}", "genes": gene, "n_cells": 20} for k in (1, 2)
        ]
    facts = make_facts({}, perturbations=found)
    # Two guides of each of 4 genes: the folds are of genes, 4 of which are fewer than 5 folds.
    assert "singles among the perturbations: 4" in facts["tasks"]["single"]["problem"]
    assert "single not possible: singles among the perturbations: 4, too few for 5 folds" in page_of(facts)


def test_what_is_left_out_or_missing_stands_with_its_number() -> None:
    facts = make_facts(
        {**dict.fromkeys(SINGLES, 40), "G0": 3, "G1": 9, "G2": 10},
        notes=["left out: 12 rows labelled 'nan': no perturbation", "level: cells (more than one row)"],
        targets={"n": 8, "n_genes": 6, "absent": ["G6", "G7"]}, has_counts=False, modality=None, context=None,
    )  # fmt: skip
    # G2 has 10 cells: enough. Of 3, 9, 10 and five times 40 the median is 40.
    assert facts["cells"] == {"control": 500, "median": 40, "least": 3, "most": 40, "few": {"G0": 3, "G1": 9}}
    said = page_of(facts)
    for words in (
        "left out: 12 rows labelled 'nan': no perturbation",
        "few cells: 2 perturbations of fewer than 10 cells ('G0' 3, 'G1' 9)",
        "unknown genes: 2 of 8 targets",
        "targets: 6 of 8 are genes of the file (not: 'G6', 'G7')",
        "no raw counts", "no batches", "no modality", "no context",
        "median 40 per perturbation (3 to 40); 500 control cells",
        "--modality crispra, crispri or ko",
        "judged on 10 112 of 600 000 cells, drawn over the whole file; a run checks every cell",
    ):  # fmt: skip
        assert words in said
    complete = page_of(make_facts(dict.fromkeys(SINGLES, 40), notes=["batches: 3 values"]))
    assert "What is left out or missing - nothing" in complete


def test_what_is_left_out_stands_there_once() -> None:
    note = "left out: 180 rows of other contexts ('RPE1')"
    facts = make_facts(dict.fromkeys(SINGLES, 40), n_obs=1000, n_in_context=820, notes=[note])
    assert [line for line in facts["missing"] if "left out" in line] == [note]


def test_a_note_with_a_flag_is_what_to_change_and_others_are_what_was_understood() -> None:
    notes = [
        "guides: 24 names of guides of 12 genes, such as 'KLF1-1' of 'KLF1' (--guides separate keeps them apart)",
        "labels: obs['condition'], control 'ctrl', targets joined by '+', 8 perturbations and the control",
        "labels: pooled with another spelling of the same targets: 'B+A'",
        "gene names: var['symbol']",
        "doses: 1 uM alone",
    ]
    page = write_page(make_facts(dict.fromkeys(SINGLES, 40), notes=notes), 100)
    understood, _, rest = page.partition("What is left out or missing")
    for words in ("pooled with another spelling", "var['symbol']", "doses       1 uM alone", "24 names of guides"):
        assert words in understood
    assert "--guides separate" not in understood
    assert "--guides separate" in rest.partition("What to change")[2]
    assert page.count("8 perturbations and the control") == 0  # the structured line says more
    assert "8 perturbations (8 singles) and the control" in understood


def test_of_means_the_number_of_cells_may_be_unknown() -> None:
    facts = make_facts(
        {}, level="pseudobulk", notes=["scale: X taken as log1p ... say --scale log1p if it is so"],
        perturbations=[{"perturbation": name, "label_given": name, "genes": name, "n_cells": None}
                       for name in ("control", *SINGLES)],
    )  # fmt: skip
    assert facts["cells"] is None
    said = page_of(facts)
    assert "means, one of each perturbation" in said
    assert "how many were averaged is not known" in said
    assert "--scale log1p declares the means to be of log1p" in said
    assert "no cells: models that need cells are left out" in said


@pytest.mark.parametrize("width", [80, 100])
def test_a_page_is_a_page_whatever_was_found(width: int) -> None:
    long = "'a long name of a label', " * 30
    facts = make_facts(
        {**dict.fromkeys([*SINGLES, *DOUBLES], 4), "G0+G1+G2": 4},
        notes=[
            *(f"left out: {i} rows labelled {long}: no perturbation" for i in range(20)),
            *(f"labels: {i} of {long}, --separator none" for i in range(9)),
            f"targets: 3 names found in {long}",
            f"guides: {long} (--guides none)",
        ],
        targets={"n": 90, "n_genes": 0, "absent": ["x" * 40] * 90}, genes={"ensembl_ids": False}, context=None,
        labels={"column": "condition", "controls": [{"label": f"NTC_{i}", "n_rows": 9} for i in range(50)],
                "separator": "+"},
        modality=None, has_counts=False, scale={"read_as": long, "n_judged": 10_112, "n_rows": 600_000},
    )  # fmt: skip
    lines = write_page(facts, width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 50
    assert "and more: see --json" in write_page(facts, width)
    assert "1.96 / sqrt(" in " ".join(write_page(facts, width).split())  # what decides is never cut
    usual = make_facts(dict.fromkeys([*SINGLES, *DOUBLES], 40), modality=None, context=None, has_counts=False)
    assert len(write_page(usual, width).splitlines()) <= 45


def test_an_entry_is_cut_between_words() -> None:
    facts = make_facts(
        {**dict.fromkeys([*SINGLES, *DOUBLES], 40), "G0": 4}, modality=None, context=None, has_counts=False,
        genes={"ensembl_ids": False}, scale={"read_as": "found " * 40, "n_judged": 10_112, "n_rows": 600_000},
    )  # fmt: skip
    for width in range(80, 92):
        page = write_page(facts, width)
        assert width > 80 or "found ..." in page
        cut = [line.removesuffix(" ...") for line in page.splitlines() if line.endswith(" ...")]
        assert {line.split()[-1] for line in cut if "found" in line} == {"found"}
        known = " ".join([*facts["missing"], *facts["changes"]]) + " "
        assert all(f"{line.strip(' -')} " in known for line in cut if line.startswith("  - no "))


def test_a_page_without_labels_says_what_the_file_is() -> None:
    facts = make_facts(dict.fromkeys(SINGLES, 40))
    keys = ("file", "container", "size_mb", "n_obs", "n_genes", "matrix", "layers")
    found = {key: facts[key] for key in keys} | {"notes": [], "error": {"kind": "choice", "message": "x"}}
    page = write_page(assemble_facts(found, "screen"), 100)
    assert "820 rows x 2 000 genes" in page
    assert "What was understood" not in page


def test_numbers_are_grouped() -> None:
    assert [group(x) for x in (7, 1234, 1359.9, 600_000, 2.5)] == ["7", "1 234", "1 359.9", "600 000", "2.5"]
