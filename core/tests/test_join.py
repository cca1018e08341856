from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pertharness.contract.cards import TableOffer
from pertharness.files.whole import sha256_file
from pertharness.host.join.collect_scores import join_scores
from pertharness.host.join.memory import FILE_NAME
from pertharness.host.join.score_tables import Vocabulary, read_score_table
from pertharness.host.leaderboard.pooled import Piece, join_table
from pertharness.host.leaderboard.score_file import SCORE_COLUMNS, write_scores
from rich.console import Console
from small_run import HEADER, HELD, score_text, small_run, write


def files_of(folder: Path) -> dict[str, bytes]:
    """Return all files of a run but its manifest and memory."""
    made = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("manifest.json", FILE_NAME)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in made}


def rows_of(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_expected_score_has_a_row_with_its_state_and_the_record_that_tells_why(tmp_path):
    write(tmp_path / "run", small_run(tmp_path))
    rows = rows_of(tmp_path / "run" / "scores.csv.gz")
    assert list(rows[0]) == list(SCORE_COLUMNS)
    # Of each of 4 models and 2 seeds: l2 of 7 perturbations and one value of the split; of two models 2 points as well.
    assert len(rows) == 4 * 2 * (7 + 1) + 2 * 2 * 2
    of = {(row["model"], row["seed"], row["perturbation"], row["metric"]): row for row in rows}
    first = of["mean", "1", HELD[0], "l2"]
    assert (first["value"], first["state"], first["part"]) == (repr(1 / 3 + 4 + 1 / 7), "done", "test")
    assert first["record"] == "mean1-l2"
    assert of["some", "2", HELD[0], "l2"]["state"] == "unanswered"
    assert of["some", "2", HELD[0], "l2"]["record"] == "some2-l2"
    failed = of["bad", "2", HELD[3], "l2"]
    assert (failed["value"], failed["state"], failed["record"]) == ("", "failed", "bad2")  # its score job never ran
    absent = of["-odd, one", "1", "", "auc"]
    assert (absent["state"], absent["record"]) == ("skipped", "")


def test_a_row_of_the_leaderboard_leads_to_the_predictions_behind_it_in_order_of_seed(tmp_path):
    write(tmp_path / "run", small_run(tmp_path))
    rows = rows_of(tmp_path / "run" / "leaderboard.csv")
    records = {row["model"]: row["record"] for row in rows}
    assert records == {"mean": "mean1 mean2", "some": "some1 some2", "bad": "bad1 bad2", "-odd, one": ""}
    assert json.loads((tmp_path / "run" / "leaderboard.json").read_text())["rows"][0]["record"] == rows[0]["record"]


def test_free_text_is_no_formula_and_labels_and_numbers_are_as_they_are(tmp_path):
    write(tmp_path / "run", small_run(tmp_path))
    notes = {row["model"]: row["note"] for row in rows_of(tmp_path / "run" / "leaderboard.csv")}
    assert notes["bad"].startswith("'=1+1 broke")
    assert "-odd, one" in notes
    spread = rows_of(tmp_path / "run" / "tables" / "spread.csv")
    assert {row["note"] for row in spread} == {"'-x", ""}
    assert {row["sd"] for row in spread if row["gene"] == "G2"} == {"-1"}


def test_scores_are_written_as_pandas_writes_them(tmp_path):
    _, plan, outcomes, store = small_run(tmp_path)
    frame = join_scores(plan, outcomes, store)
    write_scores(frame, tmp_path / "scores.csv.gz")
    plain = frame.astype({name: object for name in frame.columns if frame[name].dtype == "category"})
    plain.loc[plain["model"] == "mean", "model"] = 'a "quoted", name'
    frame["model"] = frame["model"].cat.rename_categories({"mean": 'a "quoted", name'})
    write_scores(frame, tmp_path / "scores.csv.gz")
    keys = [name for name in SCORE_COLUMNS if name not in ("value", "record")]
    expected = plain[list(SCORE_COLUMNS)].sort_values(keys).to_csv(index=False, lineterminator="\n")
    assert gzip.decompress((tmp_path / "scores.csv.gz").read_bytes()).decode() == expected


def test_a_score_table_is_read_alike_with_and_without_quotes_and_by_variant(tmp_path):
    rows = [("A+B", "G1", "l2", "default", "0.1", "1e-300"), ("", "", "l2", "common-genes", "", "0.30000000000000004"),
            ("A+B", "", "l2", "default", "", "")]  # fmt: skip
    (tmp_path / "plain.csv").write_text(HEADER + "".join(",".join(row) + "\n" for row in rows))
    with (tmp_path / "quoted.csv").open("w", newline="") as file:
        file.write(HEADER)
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    for name in ("plain.csv", "quoted.csv"):
        words = Vocabulary()
        usual = read_score_table(tmp_path / name, words, common=False)
        np.testing.assert_array_equal(usual.value, [1e-300, np.nan])
        np.testing.assert_array_equal(usual.coordinate, [0.1, np.nan])
        assert [list(words.perturbation)[code] for code in usual.perturbation] == ["A+B", "A+B"]
        assert [list(words.gene)[code] for code in usual.gene] == ["G1", ""]
        common = read_score_table(tmp_path / name, words, common=True)
        assert common.value.tolist() == [0.30000000000000004]
    (tmp_path / "empty.csv").write_text(HEADER)
    assert len(read_score_table(tmp_path / "empty.csv", Vocabulary(), common=False).value) == 0


def test_a_run_with_nothing_new_leaves_its_files_and_needs_no_pandas(tmp_path):
    run = small_run(tmp_path)
    shown = write(tmp_path / "run", run).text(Console(width=80))
    before = files_of(tmp_path / "run")
    times = {name: (tmp_path / "run" / name).stat().st_mtime_ns for name in before}
    again = write(tmp_path / "run", run, started="later")
    assert again.text(Console(width=80)) == shown
    assert again.text(Console(width=200)) != shown
    assert {name: (tmp_path / "run" / name).stat().st_mtime_ns for name in before} == times
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["started"] == "later"
    assert manifest["tables"]["spread"]["rows"] == 2 * 2 * 2
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom small_run import small_run, write\n"
        f"write(Path({str(tmp_path / 'run')!r}), small_run(Path({str(tmp_path)!r})))\n"
        "print({'numpy', 'pandas', 'h5py', 'jinja2'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_files_made_anew_and_files_made_of_what_is_remembered_are_the_same_bytes(tmp_path):
    write(tmp_path / "one", small_run(tmp_path))
    changed = small_run(tmp_path, s1=score_text("mean", 1, skip=2))
    write(tmp_path / "one", changed)
    write(tmp_path / "two", changed)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    write(tmp_path / "one", small_run(tmp_path))
    write(tmp_path / "three", small_run(tmp_path))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "three") != files_of(tmp_path / "two")


@pytest.mark.parametrize(
    "name",
    ["leaderboard.csv", "leaderboard.md", "scores.csv.gz", "costs.csv", "tables/spread.csv", "report/index.html"],
)
@pytest.mark.parametrize("damage", ["altered", "gone"])
def test_a_file_that_is_not_as_it_was_written_is_made_anew(tmp_path, name, damage):
    run = small_run(tmp_path)
    write(tmp_path / "run", run)
    before = files_of(tmp_path / "run")
    path = tmp_path / "run" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b"e", b"3", 1))
    write(tmp_path / "run", run)
    assert files_of(tmp_path / "run") == before


@pytest.mark.parametrize("damage", ["", "{}", "altered", "gone", "[1]", '{"memory": {"x": 1}}', "format"])
def test_of_a_damaged_memory_nothing_is_believed(tmp_path, damage):
    run = small_run(tmp_path)
    shown = write(tmp_path / "run", run).text(Console(width=80))
    before, path = files_of(tmp_path / "run"), tmp_path / "run" / FILE_NAME
    text = path.read_text()
    if damage == "gone":
        path.unlink()
    elif damage == "altered":
        path.write_text(text.replace("done", "d0ne").replace("mean", "m3an"))
    elif damage == "format":
        path.write_text(text.replace('"format": ', '"format": 9'))
    else:
        path.write_text(damage)
    assert write(tmp_path / "run", run).text(Console(width=80)) == shown
    assert files_of(tmp_path / "run") == before


def test_what_enters_is_all_that_the_files_depend_on(tmp_path):
    recipe, plan, outcomes, store = small_run(tmp_path)
    write(tmp_path / "run", (recipe, plan, outcomes, store))
    before = files_of(tmp_path / "run")
    other = recipe.model_copy(update={"comparison": recipe.comparison.model_copy(update={"resamples": 50})})
    write(tmp_path / "run", (other, plan, outcomes, store))
    assert files_of(tmp_path / "run")["leaderboard.csv"] != before["leaderboard.csv"]
    status = outcomes["mean1"].status.model_copy(update={"notes": ["9 of 10 genes are not predicted"]})
    noted = {**outcomes, "mean1": replace(outcomes["mean1"], status=status)}
    write(tmp_path / "run", (recipe, plan, noted, store))
    assert b"9 of 10 genes" in files_of(tmp_path / "run")["leaderboard.csv"]
    fewer = replace(plan.attempts[0], reason="left out: no", prediction="", scores={})
    plan.attempts[0] = fewer
    write(tmp_path / "run", (recipe, plan, outcomes, store))
    assert b"left out: no" in files_of(tmp_path / "run")["leaderboard.csv"]


def test_a_part_of_a_table_is_copied_where_its_records_are_the_same_and_only_there(tmp_path):
    paths = {model: tmp_path / f"{model}.csv" for model in "ab"}
    for model, path in paths.items():
        path.write_text(f"gene,x\n{model.upper()},1\n")

    def pieces() -> list[Piece]:
        return [Piece("d", "t", "p", model, "", 1, "s", 1, path, shas[model]) for model, path in paths.items()]

    shas = {model: sha256_file(path) for model, path in paths.items()}
    offer, joined = TableOffer(name="x", level="gene"), tmp_path / "joined.csv"
    parts = join_table(offer, pieces(), joined)
    paths["a"].write_text("gene,x\nOTHER,1\n")  # by another name it would be read; by the same it is known
    paths["b"].write_text("gene,x\nB,2\nC,3\n")
    shas["b"] = sha256_file(paths["b"])
    again = join_table(offer, pieces(), joined, parts)
    assert [row["gene"] for row in rows_of(joined)] == ["A", "B", "C"]
    assert [part.n_rows for part in again] == [1, 2]
    assert again[0] == parts[0]
    by_rule = join_table(TableOffer(name="x", level="gene", largest=("x", 1)), pieces(), joined, again)
    assert [row["gene"] for row in rows_of(joined)] == ["OTHER", "C"]
    assert not {part.key for part in by_rule} & {part.key for part in again}


def test_a_frame_of_categories_and_a_plain_one_give_the_same_leaderboard(tmp_path):
    from pertharness.host.join.beside import metrics_of, settings_of, strata_of
    from pertharness.host.leaderboard.compare import build_leaderboard
    from pertharness.host.leaderboard.comparison import Comparison
    from pertharness.host.leaderboard.curves import average_curves

    _, plan, outcomes, store = small_run(tmp_path)
    frame = join_scores(plan, outcomes, store)
    plain = frame.astype({name: object for name in frame.columns if frame[name].dtype == "category"})
    assert (plain.dtypes == "object").sum() > 10
    rest = metrics_of(plan), settings_of(plan), Comparison("l2", resamples=100), strata_of(plan, store), {}
    pd.testing.assert_frame_equal(
        build_leaderboard(frame, *rest), build_leaderboard(plain.sample(frac=1, random_state=0), *rest)
    )
    pd.testing.assert_frame_equal(average_curves(frame, rest[0]), average_curves(plain, rest[0]))
