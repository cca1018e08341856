"""Recipes: what they mean, what is wrong with them and on which line, and that they survive being written."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.errors import RecipeError
from pertharness.host.recipe import (
    ModelSpec,
    Recipe,
    demo_recipe,
    parse_recipe,
    read_recipe,
    recipe_text,
    write_recipe,
)

ROOT = Path(__file__).parents[2]
BASE = Path("/data/screens")

FULL = """
name = "my-screen"
seeds = [3, 1]
training_seeds = "1-2"
models = ["no_change", "linear[k=4, ridge=1.0]", "baselines/mean"]
scorers = ["l2"]
[datasets.demo]
[datasets.mine]
file = "sub folder/screen.h5ad"
params = { control_label = "ctrl" }
[[tasks]]
split = { kind = "double", variant = "norman" }
score_on = ["test", "val"]
[[tasks]]
name = "own"
dataset = "mine"
split = { kind = "file", file = "/elsewhere/split.json" }
reference = "linear[ridge=1.0,k=4]"
common_set = []
references = ["demo"]
[[tasks]]
split = { kind = "unseen", folds = 10 }
[[predictions]]
name = "my_model"
file = "pred.h5ad"
dataset = "mine"
[comparison]
metric = "pearson"
[resources]
timeout_s = 60
"""


def test_a_recipe_says_all_of_it():
    recipe = parse_recipe(FULL, "full.toml", BASE)
    assert (recipe.seeds, recipe.training_seeds) == ((3, 1), (1, 2))
    assert recipe.models[1:] == (
        ModelSpec(None, "linear", {}, {"k": 4, "ridge": 1.0}),
        ModelSpec("baselines", "mean"),
    )
    assert recipe.datasets["mine"].file == BASE / "sub folder" / "screen.h5ad"
    assert [x.offer for x in recipe.datasets.values()] == ["demo", "h5ad"]
    double, own, unseen = recipe.tasks
    assert (double.name, double.dataset, double.reference, double.common_set) == (
        "double", None, "additive", ("additive",),
    )  # fmt: skip
    assert double.score_on == ("test", "val")
    assert (own.split.file, own.reference, own.common_set) == (
        Path("/elsewhere/split.json"), "linear[k=4, ridge=1.0]", (),
    )  # fmt: skip
    assert (unseen.name, unseen.reference, unseen.split.params) == ("single", "mean", {"folds": 10})
    assert (recipe.resources.timeout_s, recipe.resources.memory_mb, recipe.resources.jobs) == (60.0, None, None)


def test_an_empty_recipe_is_all_defaults():
    recipe = parse_recipe("", "empty.toml", BASE)
    assert recipe == Recipe()
    assert (recipe.name, recipe.seeds, recipe.training_seeds, recipe.models) == (None, (1, 2, 3, 4, 5), (1,), None)
    assert (recipe.comparison.metric, recipe.comparison.resamples, recipe.resources.device) == ("l2", 10_000, "cpu")


def test_the_only_dataset_is_that_of_the_predictions():
    recipe = parse_recipe('[datasets.demo]\n[[predictions]]\nname = "a"\nfile = "a.h5ad"\n', "x.toml", BASE)
    assert recipe.predictions[0].dataset == "demo"


DEMO = "[datasets.demo]\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('nmae = "x"', 1, "nmae: unknown key; did you mean 'name'?"),
        (DEMO + '\nofer = "demo"', 3, "datasets.demo.ofer: unknown key; did you mean 'offer'?"),
        (DEMO + '[[tasks]]\nsplit = {kind = "double"}\n[[tasks]]\nnaem = 1\nsplit = {kind = "unseen"}', 5,
         "tasks[1].naem: unknown key; did you mean 'name'?"),
        ("[comparison]\nmetrics = 'l2'", 2, "comparison.metrics: unknown key; did you mean 'metric'?"),
        ("[resources]\n\njobs = '2'", 3, "resources.jobs: expected a whole number, got '2'"),
        ("[resources]\njobs = 0", 2, "greater than or equal to 1, got 0"),
        ("[resources]\njobs = true", 2, "expected a whole number, got True"),
        ("[resources]\ndevice = 'gpu'", 2, "got 'gpu'"),
        ("name = 'a/b'", 1, "got 'a/b'"),
        ("name = '..'", 1, "got '..'"),
        ("seeds = []", 1, "seeds: expected at least one"),
        ("seeds = [1, 2, 1]", 1, "duplicate value 1"),
        ("seeds = ['1']", 1, "seeds[0]: expected a whole number, got '1'"),
        ("seeds = '5-1'", 1, "'5-1' in seeds '5-1': expected a range upwards"),
        ("seeds = 3", 1, "seeds: expected a list in brackets, got 3"),
        ("\nmodels = [\n 'mean',\n 'm[k=[1]',\n]", 2, "models[1]: unclosed bracket or quote in 'm[k=[1]'"),
        ("models = ['mean', 'mean']", 1, "duplicate value 'mean'"),
        ("models = [3]", 1, "models[0]: expected the name of a model as text, got 3"),
        ("datasets = 3", 1, "datasets: expected a table, got 3"),
        ("tasks = [1]", 1, "tasks[0]: expected a table"),
        ("[datasets.'a b']", 1, "got 'a b'"),
        (DEMO + "file = ''", 2, "expected the path of a file as text, got ''"),
        (DEMO + "params = { since = 2020-01-01 }", 2, "datasets.demo.params.since: a date or time"),
        (DEMO + "params = { x = [1.0, nan] }", 2, "datasets.demo.params.x[1]: nan is not a number"),
        (DEMO + "params = { x = 0xffffffffffffffff }", 2, "more than 64 bits"),
        (DEMO + "params.x = " + "[" * 40 + "]" * 40, 2, "nested more than 32 deep"),
        (DEMO + "[[tasks]]\nname = 'x'", 2, "tasks[0].split: is missing"),
        (DEMO + "[[tasks]]\nsplit = { variant = 'x' }", 3, "tasks[0].split.kind: is missing"),
        (DEMO + "[[tasks]]\nsplit = { kind = 'all' }", 3, "'all' holds nothing out, so there is nothing to score"),
        (DEMO + "[[tasks]]\nsplit = { kind = 'doubles' }", 3, "no split kind 'doubles'; did you mean 'double'?"),
        (DEMO + "[[tasks]]\n[tasks.split]\nkind = 'unseen'\nfold = 3", 5, "no parameter 'fold'; did you mean 'folds'?"),
        (DEMO + "[[tasks]]\nsplit.kind = 'unseen'\nsplit.folds = 1", 4, "folds = 1: expected a whole number from 2"),
        (DEMO + "[[tasks]]\nsplit = { kind = 'double', variant = 'normann' }", 3, "did you mean 'norman'?"),
        (DEMO + "[[tasks]]\nname = 'x'\nsplit = { kind = 'file' }", 4, "kind 'file' needs 'file'"),
        (DEMO + "[[tasks]]\nsplit = { kind = 'file', file = 'a' }", 2, "needs the name 'double' or 'single'"),
        (DEMO + "[[tasks]]\nname = 'x'\nsplit = { kind = 'file', file = 'a', folds = 2 }", 4, "takes no key 'folds'"),
        (DEMO + "[[tasks]]\nsplit = { kind = 'double', file = 'a' }", 3, "kind 'double' takes no file"),
        (DEMO + "[[tasks]]\ndataset = 'dmeo'\nsplit = {kind = 'unseen'}", 3, "no dataset 'dmeo'; did you mean 'demo'?"),
        (DEMO + "[[tasks]]\nsplit = { kind = 'unseen' }\nreferences = ['x']", 4, "references[0]: no dataset 'x'"),
        (DEMO + "[[tasks]]\nsplit = { kind = 'unseen' }\ndataset = 'demo'\nreferences = ['demo']", 5, "own dataset"),
        (DEMO + "[[tasks]]\nsplit = { kind = 'unseen' }\nscore_on = ['tset']", 4, "got 'tset'"),
        ("seeds = [0]\n" + DEMO + "[[tasks]]\nsplit = { kind = 'unseen' }", 4, "counts its seeds from 1"),
        (DEMO + "[[tasks]]\nsplit = { kind = 'unseen' }\n[[tasks]]\nsplit = { kind = 'simulation' }", 4,
         "two tasks of a dataset are named 'single'"),
        (DEMO + "[[predictions]]\nname = 'a'", 2, "predictions[0].file: is missing"),
        ("[[predictions]]\nname = 'a'\nfile = 'x'\ndataset = 'b'", 4, "no dataset 'b'"),
        (DEMO + "[datasets.b]\n[[predictions]]\nname = 'a'\nfile = 'x'", 3, "'dataset' is missing"),
        ("[comparison]\nconfidence = 1.0", 2, "less than 1, got 1.0"),
        ("a = 1\na = 2", 2, "not TOML"),
        ("a = 1\n\nb", 3, "not TOML"),
        ("x = " + "[" * 100_000, 1, "TOML"),
        ("x = " + "1" * 10_000, 1, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text, line, said):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "bad.toml", BASE)
    assert str(caught.value).startswith(f"bad.toml:{line}: ")
    assert said in str(caught.value)


def test_all_mistakes_are_told_at_once_by_line():
    with pytest.raises(RecipeError) as caught:
        parse_recipe('seeds = []\n[resources]\nthreads = "x"\njbos = 1\n', "bad.toml", BASE)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [f"bad.toml:{i}" for i in (1, 3, 4)]


def test_read_recipe_finds_files_beside_it_and_tells_of_missing_ones(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b'\xef\xbb\xbf[datasets.mine]\r\nfile = "screen.h5ad"\r\n')
    with pytest.raises(RecipeError, match=r"recipe\.toml:2: datasets\.mine\.file: no file .*screen\.h5ad"):
        read_recipe(path)
    assert read_recipe(path, must_exist=False).datasets["mine"].file == tmp_path / "screen.h5ad"
    (tmp_path / "screen.h5ad").touch()
    assert read_recipe(path).datasets["mine"].file == tmp_path / "screen.h5ad"


def test_a_recipe_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    with pytest.raises(RecipeError, match="not UTF-8"):
        read_recipe(tmp_path / "binary.toml")


def test_a_written_recipe_is_the_same_recipe_anywhere(tmp_path):
    recipe = parse_recipe(FULL, "full.toml", BASE)
    write_recipe(recipe, tmp_path / "run" / "recipe.toml")
    assert read_recipe(tmp_path / "run" / "recipe.toml", must_exist=False) == recipe


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FILES = TEXT.filter(lambda text: text and "\0" not in text and not text.startswith("~"))
CHOICE = {"params": st.dictionaries(TEXT, PLAIN, max_size=3), "offer": st.sampled_from(["h5ad", "plugin/demo"])}
DATASETS = st.dictionaries(
    st.sampled_from(["demo", "a.b", "1-2"]), st.fixed_dictionaries(CHOICE, optional={"file": FILES})
)
TASKS = st.lists(
    st.fixed_dictionaries(
        {"split": st.sampled_from([{"kind": "double"}, {"kind": "unseen", "folds": 3}])},
        optional={"score_on": st.just(["val"]), "common_set": st.lists(st.just("mean"), max_size=1)},
    ),
    max_size=1,
)


@settings(max_examples=50, deadline=None)
@given(st.fixed_dictionaries({"datasets": DATASETS, "tasks": TASKS}, optional={"seeds": st.just("1,4-6")}))
def test_any_recipe_survives_being_written(data):
    recipe = Recipe.model_validate(data, context={"base": BASE})
    assert parse_recipe(recipe_text(recipe), "again.toml", Path("/other")) == recipe


WORDS = st.sampled_from([
    "name", "seeds", "tasks", "datasets", "demo", "split", "kind", "params", "models", "file", "offer", '"double"',
    '"1-2"', "'unseen'", "[", "]", "[[", "]]", "{", "}", "=", " = ", ".", ",", "\n", "\n", "\n", "#", '"', "'", "1",
    '"""', "'''", "1.5", "true", "inf", "2020-01-01", "\\", "\r\n", "é", "[[tasks]]\n", "[datasets.demo]\n",
    "split = {kind = 'double'}",
])  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60) | st.lists(WORDS, max_size=25).map("".join))
def test_any_text_is_a_recipe_or_a_recipe_error(text):
    try:
        assert isinstance(parse_recipe(text, "any.toml", BASE), Recipe)
    except RecipeError as error:
        assert str(error).startswith("any.toml:")


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from([*Recipe.model_fields, "x", "a b"]), PLAIN, max_size=4))
def test_any_data_in_any_place_is_a_recipe_or_a_recipe_error(data):
    from pertharness.host.recipe.text import to_toml

    try:
        assert isinstance(parse_recipe(to_toml(data), "any.toml", BASE), Recipe)
    except RecipeError as error:
        assert str(error).startswith("any.toml:")


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.name)
def test_the_recipes_of_the_repository_are_right(path):
    recipe = read_recipe(path, must_exist=False)
    assert recipe.tasks
    assert recipe.datasets


OUT = 'models = ["mean"]\n[left_out]\ncpa = "it answers doubles only"\n"linear[k=4,  ridge=1]" = "too slow"\n'


def test_what_is_left_out_is_kept_with_its_reason(tmp_path):
    recipe = parse_recipe(OUT, "out.toml", BASE)
    assert recipe.left_out == {"cpa": "it answers doubles only", "linear[k=4, ridge=1]": "too slow"}
    write_recipe(recipe, tmp_path / "again.toml")
    assert read_recipe(tmp_path / "again.toml") == recipe


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('models = ["cpa"]\n[left_out]\ncpa = "why"', 3, "left_out.cpa: 'cpa' is also in models"),
        ('[left_out]\ncpa = ""', 2, "left_out.cpa: expected the reason why the model is left out"),
        ("[left_out]\ncpa = 3", 2, "left_out.cpa: expected a text in quotes, got 3"),
        ('left_out = ["cpa"]', 1, "left_out: expected a table, got ['cpa']"),
        ('[left_out]\n"c[" = "why"', 2, "'c[' is not a model"),
    ],
)
def test_what_is_wrong_with_what_is_left_out_is_told(text, line, said):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "bad.toml", BASE)
    assert str(caught.value).startswith(f"bad.toml:{line}: ")
    assert said in str(caught.value)


TWO = """
name = "two"
models = ["mean"]
[datasets.a]
file = "a.h5ad"
params = { control_label = "ctrl" }
[datasets.b]
offer = "norman"
[[tasks]]
dataset = "a"
split = { kind = "unseen" }
references = ["b"]
[[tasks]]
dataset = "b"
split = { kind = "double" }
"""


def test_the_demo_takes_the_place_of_every_dataset_and_of_nothing_else():
    recipe = parse_recipe(TWO, "two.toml", BASE)
    demo = demo_recipe(recipe)
    assert demo.name == "two-demo"
    assert {name: (x.offer, x.file, x.params) for name, x in demo.datasets.items()} == {
        "a": ("demo", None, {"replicate": 0, "n_doubles": 0}),  # a task of singles only: the demo of it has no doubles
        "b": ("demo", None, {"replicate": 1}),
    }
    unchanged = set(recipe.model_dump()) - {"name", "datasets"}
    assert demo.model_dump(include=unchanged) == recipe.model_dump(include=unchanged)


def test_files_that_belong_to_other_data_are_refused_with_the_demo():
    given = '[datasets.a]\n[[predictions]]\nname = "mine"\nfile = "x.h5ad"\n'
    with pytest.raises(RecipeError, match="the predictions 'mine' cannot be used with the demo data"):
        demo_recipe(parse_recipe(given, "x.toml", BASE))
    split = '[datasets.a]\n[[tasks]]\nname = "double"\nsplit = { kind = "file", file = "s.json" }\n'
    with pytest.raises(RecipeError, match="cannot be used with the demo data"):
        demo_recipe(parse_recipe(split, "x.toml", BASE))


def test_environments_are_paths_from_the_recipe_requirements_or_interpreters(tmp_path):
    text = (
        '[environments]\ncpa = "plugins/cpa"\ngears = "pertharness-gears==0.1.0"\nown = "git+https://localhost/x.git"\n'
    )
    recipe = parse_recipe(text + 'mine = { python = "venv/bin/python" }\n', "r.toml", tmp_path)
    plugins = {name: choice.plugin for name, choice in recipe.environments.items()}
    assert plugins == {
        "cpa": str(tmp_path / "plugins" / "cpa"), "gears": "pertharness-gears==0.1.0",
        "own": "git+https://localhost/x.git", "mine": None,
    }  # fmt: skip
    assert recipe.environments["mine"].python == tmp_path / "venv" / "bin" / "python"
    assert parse_recipe(recipe_text(recipe), "again", Path("/elsewhere")) == recipe


@pytest.mark.parametrize("wrong", ['""', "{}", '{ plugin = "a", python = "b" }', "3", '{ pyton = "b" }'])
def test_an_environment_that_is_none_is_refused_with_its_line(wrong):
    told = r"r\.toml:2: environments\.cpa.*: (expected|unknown key; did you mean 'python')"
    with pytest.raises(RecipeError, match=told):
        parse_recipe(f"[environments]\ncpa = {wrong}\n", "r.toml", Path())
