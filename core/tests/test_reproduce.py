"""Published beside measured: the recipes and numbers that plugins bring, and what is measured from a run."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from pertharness.contract.cards import RecipeOffer
from pertharness.contract.errors import PertharnessError, RecipeError
from pertharness.contract.jobs import PluginRef
from pertharness.host.packages.sources import Sources
from pertharness.host.plugins.registry import Offered, Plugin, Registry
from pertharness.host.recipe import make_recipe, write_recipe
from pertharness.host.reproduce.benchmarks import find_benchmark, find_recipe, is_name
from pertharness.host.reproduce.measure import BASES, QUANTITIES
from pertharness.host.reproduce.published import Number
from pertharness.host.reproduce.run_files import NotMeasured, RunFiles
from pertharness.host.reproduce.side_by_side import agreeing_digits, compare, title_of, write_rows

ROOT = Path(__file__).parents[2]
HEADER = "id,recipe,dataset,figure,quantity,column,value,unit,tolerance,source\n"
OFFER = RecipeOffer(
    name="small-2026", summary="A small one 2026", doi="10.1/small", recipes={"double": "published/small-double.toml"},
    numbers="published/small.csv",
)  # fmt: skip


def registry_of(folder, *plugins, numbers="", offer=OFFER):
    """A registry of plugins that bring a benchmark each; their packages lie in a folder and cannot be imported."""
    registry = Registry()
    for name in plugins or ("mine",):
        package = folder / name / f"plugin_{name}"
        (package / "published").mkdir(parents=True)
        (package / "__init__.py").write_text("raise AssertionError('the host imports no plugin')")
        (package / "published" / "small-double.toml").write_text('[[tasks]]\nsplit = { kind = "double" }\n')
        (package / "published" / "small.csv").write_text(HEADER + numbers)
        ref = PluginRef(name=name, module=f"plugin_{name}.hooks", version="1")
        plugin = Plugin(ref, Path("python"), "", "", sources=Sources(sorted(package.rglob("*.*"))))
        registry.recipes[offer.name if len(registry.recipes) == 0 else f"{name}/{offer.name}"] = Offered(plugin, offer)
    return registry


N1 = "n1,double,norman,Fig. 1,singles,,100,,,Methods\n"
N2 = "n2,double,norman,Fig. 2,class_share,buffering,2.3,%,0.05,text\n"


def test_a_plugin_brings_recipes_and_numbers_without_being_imported(tmp_path):
    benchmark = find_benchmark(registry_of(tmp_path, numbers=N1 + N2), "small-2026")
    assert benchmark.recipes == {"double": tmp_path / "mine" / "plugin_mine" / "published" / "small-double.toml"}
    first, second = benchmark.numbers
    assert (first.id, first.value, first.unit, first.tolerance) == ("n1", 100.0, "", 0.0)
    assert (second.column, second.value, second.unit, second.tolerance) == ("buffering", 2.3, "%", 0.05)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("n1,single,norman,Fig. 1,singles,,1,,,x\n", "'n1' has the recipe 'single'; expected one of 'double'"),
        ("n1,double,norman,Fig. 1,singels,,1,,,x\n", "'n1' has the quantity 'singels'; did you mean 'singles'"),
        (
            "n1,double,norman,Fig. 1,singles,,one,,,x\n",
            r"csv, line 2: value: .*number; expected the columns id, ",
        ),
        ("n1,double,norman,Fig. 1,singles,,1,,,\n", "line 2: source: Field required"),
        ("n1,double,norman,Fig. 1,singles,,nan,,,x\n", "line 2: value: .*finite"),
        ("n1,double,norman,Fig. 1,singles,,1,,,x,y\n", "line 2: "),
        ("n1,double\n", "line 2: dataset: "),
    ],
)
def test_numbers_that_cannot_be_used_are_refused_with_their_line(lines, message, tmp_path):
    with pytest.raises(RecipeError, match=message):
        find_benchmark(registry_of(tmp_path, numbers=lines), "small-2026")


def test_a_recipe_of_a_plugin_is_found_by_the_name_of_its_file(tmp_path):
    registry = registry_of(tmp_path)
    assert find_recipe(registry, "small-double").parent.name == "published"
    with pytest.raises(RecipeError, match="did you mean 'small-double'"):
        find_recipe(registry, "small-duble")
    with pytest.raises(RecipeError, match="there is no recipe 'x'"):
        find_recipe(Registry(), "x")
    with pytest.raises(RecipeError, match=r"two plugins bring a recipe 'small-double'; name its file: .*plugin_b"):
        find_recipe(registry_of(tmp_path, "a", "b"), "small-double")


def test_a_file_comes_before_a_recipe_of_a_plugin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_name(Path("small-double"))
    assert not is_name(Path("elsewhere") / "small-double")
    assert not is_name(Path("small-double.toml"))
    Path("small-double").write_text("")
    assert not is_name(Path("small-double"))


def test_a_file_that_a_package_lacks_is_named_with_its_plugin(tmp_path):
    offer = OFFER.model_copy(update={"recipes": {"double": "published/other.toml"}})
    with pytest.raises(PertharnessError, match=r"plugin 'mine': its card names 'published/other.toml'"):
        find_benchmark(registry_of(tmp_path, offer=offer), "small-2026")


@pytest.mark.parametrize("file", ["../recipe.toml", "/etc/recipe.toml", "a/../../b.toml", ".hidden/r.toml", "a b.toml"])
def test_a_card_names_files_of_its_own_package_alone(file):
    with pytest.raises(ValueError, match="recipes"):
        RecipeOffer(name="x", summary="", recipes={"double": file})


def test_an_unknown_benchmark_is_named_with_what_there_is(tmp_path):
    with pytest.raises(RecipeError, match="did you mean 'small-2026'"):
        find_benchmark(registry_of(tmp_path), "small-2025")
    with pytest.raises(RecipeError, match="no installed plugin offers one"):
        find_benchmark(Registry(), "small-2025")


MODELS = ("additive", "deep")
DOUBLES = {1: {"train": ["A", "B", "C"], "test": ["A+B"], "val": ["A+C"]},
           2: {"train": ["A", "B", "C"], "test": ["B+C"], "val": ["A+B", "A+D"]}}  # fmt: skip
LABELS = ("control", "A", "B", "C", "A+B", "A+C", "B+C", "A+D")


def make_run(
    folder, *, held=DOUBLES, labels=LABELS, answers=("A+B", "A+C"), refused=(), silent=(), dataset_state="done",
    **common_sets,
):  # fmt: skip
    """A run of two splits of a dataset of 3 singles and 4 doubles; `deep` answers only some of the held-out ones.

    `refused`: a seed and one of the answers, which it does not answer there.
    """
    run, store = folder / "runs" / "small", folder / "store"
    (store / "datasets" / "d").mkdir(parents=True)
    pd.DataFrame({"perturbation": labels}).to_csv(store / "datasets" / "d" / "perturbations.csv", index=False)
    for seed, parts in held.items():
        (store / "splits" / f"s{seed}").mkdir(parents=True)
        (store / "splits" / f"s{seed}" / "split.json").write_text(json.dumps(parts))
    task = {"split": {"kind": "double"}, "score_on": ["test", "val"], "common_set": list(MODELS)}
    data = {"name": "small", "seeds": list(held), "datasets": {"norman": {"offer": "demo"}}, "tasks": [task]}
    write_recipe(make_recipe(data), run / "recipe.toml")
    states = {"d": dataset_state, **{f"s{seed}": "done" for seed in held}, "p": "skipped" if silent else "done"}
    records = {key: {"title": f"job {key}", "state": state, "message": "no file" * (state != "done")}
               for key, state in states.items()}  # fmt: skip
    attempts = [
        {"dataset": "norman", "task": "double", "seed": seed, "model": model, "params": "", "split": f"s{seed}",
         "prediction": "p", "reason": "not installed: 'deep'; expected" if model in silent else ""}
        for seed in held for model in MODELS
    ]  # fmt: skip
    manifest = {"store": str(store), "datasets": {"norman": "d"}, "records": records, "attempts": attempts}
    (run / "manifest.json").write_text(json.dumps(manifest))
    rows = [
        {"dataset": "norman", "task": "double", "seed": seed, "model": model, "params": "", "perturbation": label,
         "gene": "", "metric": "l2", "variant": "default", "coordinate": "",
         "value": seed if model == "additive" or (label in answers and (seed, label) not in refused) else ""}
        for seed, parts in held.items() for model in MODELS if model not in silent
        for part in ("test", "val") for label in parts[part]
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(run / "scores.csv.gz", index=False)
    (run / "tables").mkdir()
    call = {"dataset": "norman", "threshold": ["local", "tail"], "upper": [0.25, 0.5], "sigma": [0.1, 0.1]}
    pd.DataFrame(call).to_csv(run / "tables" / "interaction_call.csv", index=False)
    classes = {"dataset": "norman", "threshold": "local", "class": ["additive", "buffering", "opposite"]}
    shares = {"count": [195, 5, 0], "share": [0.975, 0.025, 0.0]}
    pd.DataFrame(classes | shares).to_csv(run / "tables" / "class_composition.csv", index=False)
    return RunFiles(run, common_sets)


def number(quantity, column="", value=0.0, **fields):
    given = {"id": quantity, "recipe": "double", "dataset": "norman", "figure": "Fig. 1", "source": "a test", **fields}
    return Number(quantity=quantity, column=column, value=value, **given)


def measured(run, quantity, column=""):
    return QUANTITIES[quantity](run, number(quantity, column))


@pytest.mark.parametrize(
    ("quantity", "column", "expected"),
    [
        ("singles", "", 3), ("doubles", "", 4), ("splits", "", 2),
        ("held_out", "", 2.5),  # 2 and 3
        ("held_out_common", "", 3),  # A+B and A+C of the first, A+B of the second
        ("answered_by_all", "", 0),  # of no single
        ("split_size", "train", 3), ("split_size", "val", 0),  # the singles; those held out are doubles
        ("call", "upper", 0.25), ("call", "sigma", 0.1),
        ("interactions", "", 5), ("entries", "", 200),
        ("class_count", "opposite", 0), ("class_share", "buffering", 2.5),
    ],
)  # fmt: skip
def test_each_quantity_is_measured_from_the_files_of_the_run(quantity, column, expected, tmp_path):
    labels = [label for label in LABELS if "+" in label] if quantity == "answered_by_all" else LABELS
    assert measured(make_run(tmp_path, labels=labels), quantity, column) == pytest.approx(expected)


def names(n):
    return [f"G{i:04d}" for i in range(n)]


@pytest.mark.parametrize(
    ("sizes", "common", "published"),
    [((54, 6, 21), (11, 13), 24), ((733, 82, 272), (70, 64), 134), ((1035, 115, 384), (109, 101), 210)],
)
def test_planted_counts_of_each_split_give_the_published_held_out_singles(sizes, common, published, tmp_path):
    labels, n_val, n_held = names(sum(sizes)), sizes[1], sum(sizes[1:])
    held = {1: labels[:n_held], 2: labels[n_held : 2 * n_held]}
    splits = {
        seed: {"train": [x for x in labels if x not in set(part)], "val": part[:n_val], "test": part[n_val:]}
        for seed, part in held.items()
    }
    answers = [name for part, n in zip(held.values(), common, strict=True) for name in part[:n]]
    run = make_run(tmp_path, held=splits, labels=("control", *labels), answers=answers)
    assert [measured(run, "split_size", part) for part in ("train", "val", "test")] == list(sizes)
    first, second = compare(run, [number("held_out_common", value=published)])
    assert (first.quantity, first.measured, first.agrees) == ("held_out_common, sum", published, "yes")
    assert (second.quantity, second.measured, second.agrees) == ("held_out_common, mean", published / 2, "other basis")
    # A third of the singles is held out in no split: what would be answered of them is between none and all.
    n_unknown = sum(sizes) - 2 * n_held
    bounds = f"between {2 * published} and {2 * (published + n_unknown)}: {n_unknown} of {sum(sizes)} singles"
    with pytest.raises(NotMeasured, match=bounds):
        measured(run, "answered_by_all")


@pytest.mark.parametrize(("n_each", "n_once", "published"), [(36, 1, 73), (199, 0, 398), (314, 1, 629)])
def test_planted_counts_of_each_split_give_the_published_common_singles(n_each, n_once, published, tmp_path):
    answered, single, refused = names(n_each), [f"H{i}" for i in range(n_once)], [f"R{i}" for i in range(9)]
    half = n_each // 2
    # Each single is held out in one split and trained on in the other; the last ones are held out in both.
    splits = {
        1: {"train": answered[half:], "val": refused, "test": [*answered[:half], *single]},
        2: {"train": [*answered[:half], *refused], "val": answered[half:], "test": single},
    }
    run = make_run(
        tmp_path, held=splits, labels=("control", *answered, *single, *refused), answers=[*answered, *single],
        refused=[(2, name) for name in single],
    )  # fmt: skip
    first, second = compare(run, [number("answered_by_all", value=published)])
    # An answered single counts in both splits, held out or not; one that is refused in the second counts once.
    assert (first.measured, first.agrees) == (2 * n_each + n_once, "yes")
    assert (second.quantity, second.measured, second.agrees) == ("answered_by_all, once", n_each, "other basis")


def test_the_published_common_set_counts_where_some_models_were_chosen(tmp_path):
    run = make_run(tmp_path, norman=("additive", "deep", "gears"))
    with pytest.raises(NotMeasured, match=r"needs answers of gears; there is none .gears: not among the models"):
        measured(run, "held_out_common")


@pytest.mark.parametrize(
    ("published", "other", "digits"),
    [
        (0.0067689466, 0.0067689466, "8 of 8"),
        (0.0067689466, 0.00676895, "6 of 8"),  # 3.4e-9 apart: half a unit of the 6th digit is 5e-9, of the 7th 5e-10
        (0.1948448, 0.1948, "4 of 7"),  # 4.5e-5 apart
        (-0.2049325, -0.2054325, "3 of 7"),  # 5e-4 apart: half a unit of the 3rd digit counts
        (2.3, 2.34, "2 of 2"), (2.3, 2.36, "1 of 2"), (0.6, -0.6, "0 of 1"),
        (124000.0, 124000.0, "6 of 6"), (20095.0, 20100.0, "4 of 5"), (5035.0, 12.0, "0 of 4"), (0.0, 0.0, ""),
    ],
)  # fmt: skip
def test_digits_that_agree_are_counted(published, other, digits):
    assert agreeing_digits(published, other) == digits


def test_every_quantity_is_tested_and_documented():
    tested = {row[0] for row in test_each_quantity_is_measured_from_the_files_of_the_run.pytestmark[0].args[1]}
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    assert tested == set(QUANTITIES)
    section = page.split("| quantity | measured as |")[1].split("\n\n")[0]
    described = [name for row in section.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])]
    assert described == list(QUANTITIES)
    bases = {quantity: {basis.words for basis in pair} for quantity, pair in BASES.items()}
    assert bases == {"held_out_common": {"sum", "mean"}, "answered_by_all": {"sum", "once"}}
    for quantity, words in bases.items():
        row = next(line for line in section.splitlines() if line.startswith(f"| `{quantity}` |"))
        assert all(f"*{word}*" in row for word in words)


@pytest.mark.parametrize(
    ("made", "asked", "reason"),
    [
        ({"silent": ("deep",)}, number("held_out_common"), "needs answers of deep.*not installed: 'deep'"),
        ({"answers": ()}, number("answered_by_all"), "needs answers of deep"),
        ({"dataset_state": "failed"}, number("singles"), "job d: failed: no file"),
        ({}, number("singles", dataset="adamson"), "no dataset 'adamson'"),
        ({}, number("held_out", dataset="adamson"), "no task for the dataset 'adamson'"),
        ({}, number("call", "delta"), "no column 'delta'; it has dataset, threshold, upper, sigma"),
        ({}, number("class_share", "synergistic"), "0 values of 'share' where one was expected"),
        ({}, number("split_size", "training"), "no part 'training'; it has train, test, val"),
        ({}, number("answered_by_all"), "between 0 and 6: 3 of 3 singles are held out in no split"),
    ],
)
def test_what_cannot_be_measured_says_why(made, asked, reason, tmp_path):
    with pytest.raises(NotMeasured, match=reason):
        QUANTITIES[asked.quantity](make_run(tmp_path, **made), asked)


def test_the_table_says_of_every_number_what_it_is_or_why_not(tmp_path):
    run = make_run(tmp_path, silent=("deep",))
    (run.folder / "tables" / "interaction_call.csv").unlink()
    asked = [
        number("singles", value=3), number("doubles", value=5),
        number("class_share", "buffering", 2.46, tolerance=0.05, unit="%"),
        number("held_out_common", value=24), number("call", "upper", 0.2),
    ]  # fmt: skip
    rows = compare(run, asked)
    assert [row.agrees for row in rows] == ["yes", "no", "yes", *["not measured"] * 3]
    assert [row.difference for row in rows[:3]] == [0, -1, pytest.approx(0.04)]
    assert all(row.reason for row in rows[3:])
    write_rows(rows, run.folder, "A title")
    table = pd.read_csv(run.folder / "reproduction.csv")
    assert list(table["published"]) == [3, 5, 2.46, 24, 24, 0.2]
    page = (run.folder / "reproduction.md").read_text(encoding="utf-8")
    assert "| Fig. 1 | norman | doubles | 5 | 4 | -1 | 0 of 1 | a test |" in page
    assert "| Fig. 1 | norman | class_share buffering | 2.46% | 2.5% | +0.04% | 2 of 3 | a test |" in page
    assert "held_out_common: the source does not say what is counted" in page
    assert "- norman call upper not measured: the run has no table 'interaction_call'" in page


def test_the_title_says_that_the_demo_cannot_agree():
    assert title_of(OFFER, "x", demo=True).startswith("DEMO, simulated data")
    assert title_of(OFFER, "x", demo=False) == "A small one 2026 (doi 10.1/small), x: published beside measured"
    assert title_of(OFFER, "x", demo=False, models="gears[epochs=1]").endswith(", models gears[epochs=1]")
