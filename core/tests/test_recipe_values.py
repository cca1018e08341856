"""The short texts: seeds and models."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.errors import RecipeError
from pertharness.host.recipe.value_types import EmbeddingSpec, ModelSpec, parse_embedding, parse_model, parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (3,)), ("1-5", (1, 2, 3, 4, 5)), ("1,3-4", (1, 3, 4)), (" 7 , 2 - 3 ", (7, 2, 3))]
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "1-", "-1", "1,,2", "5-1", "1,1", "1-3,2", "1-1001", "4294967296", "99999999999", "1.0", "²"]
)
def test_wrong_seeds_are_refused_with_the_text(text):
    with pytest.raises(RecipeError, match="seed"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "spec", "canonical"),
    [
        ("mean", ModelSpec(None, "mean"), "mean"),
        (" baselines/mean[] ", ModelSpec("baselines", "mean"), "baselines/mean"),
        ("linear[ridge=0.1,G=embed:scgpt,k=4]",
         ModelSpec(None, "linear", {"G": EmbeddingSpec(None, "scgpt", prefixed=True)}, {"k": 4, "ridge": 0.1}),
         "linear[G=embed:scgpt, k=4, ridge=0.1]"),
        ("m[P=transfer:other, g=embed:x]",
         ModelSpec(None, "m", {"P": EmbeddingSpec(None, "transfer", "other")}, {"g": "embed:x"}),
         "m[P=transfer:other, g=embed:x]"),
        ('m[P="table:a, b].csv"]', ModelSpec(None, "m", {"P": EmbeddingSpec(None, "table", "a, b].csv")}),
         'm[P="table:a, b].csv"]'),
        ("m[G=4, x=some words, y=true, z=null]",
         ModelSpec(None, "m", {}, {"G": 4, "x": "some words", "y": True, "z": None}),
         'm[G=4, x="some words", y=true, z=null]'),
        ('m[layers=[1, [2, 3]], d={"a": 1}]', ModelSpec(None, "m", {}, {"layers": [1, [2, 3]], "d": {"a": 1}}),
         'm[d={"a": 1}, layers=[1, [2, 3]]]'),
        ("m[P=transfer:other[ k=30 ], G = random, H=embed:a/b[x=[1, 2], y=z]]",
         ModelSpec(None, "m", {"G": EmbeddingSpec(None, "random"),
                               "H": EmbeddingSpec("a", "b", "", {"x": [1, 2], "y": "z"}, prefixed=True),
                               "P": EmbeddingSpec(None, "transfer", "other", {"k": 30})}),
         "m[G=random, H=embed:a/b[x=[1, 2], y=z], P=transfer:other[k=30]]"),
        ("m[P=table:~/my data/a=b.csv]", ModelSpec(None, "m", {"P": EmbeddingSpec(None, "table", "~/my data/a=b.csv")}),
         "m[P=table:~/my data/a=b.csv]"),
        ('m[x="4"]', ModelSpec(None, "m", {}, {"x": "4"}), 'm[x="4"]'),
        ("m[x=NaN, y=a=b]", ModelSpec(None, "m", {}, {"x": "NaN", "y": "a=b"}), 'm[x=NaN, y="a=b"]'),
    ],
)  # fmt: skip
def test_a_model_is_read_and_spelled_one_way(text, spec, canonical):
    assert parse_model(text) == spec
    assert spec.text() == canonical
    assert parse_model(canonical) == spec


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a/b/c", "m[k=1", "m[k=1]]", "m[k]", "m[k=]", "m[=1]", "m[k=1,]", "m[k=1, k=2]", 'm[k="a]', "m[k=[1]",
     "m[k=1]x", "m[G=a b]", "m[G=table:]", "m[G=embed:]", "m[G=a[k]]", "m[G=a[k=1, k=2]]",
     "4m", "m.x", "m[k=1e999]", "m[a-b=1]"],
)  # fmt: skip
def test_what_is_no_model_is_refused(text):
    with pytest.raises(RecipeError):
        parse_model(text)


def test_an_empty_value_is_told_with_an_example():
    with pytest.raises(RecipeError, match=r"'P=' .* is not KEY=VALUE; expected e.g. k=4 or P=random"):
        parse_model("linear[P=]")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


EMBEDDINGS = st.builds(
    EmbeddingSpec,
    st.none() | st.just("plugin"),
    st.sampled_from(["scgpt", "table", "embed"]),
    st.text(max_size=8).map(lambda text: text.replace("[", "(").replace("\0", "").strip()),
    st.dictionaries(st.sampled_from(["k", "K"]), VALUES, max_size=2),
    st.booleans(),
).filter(lambda made: made.prefixed or made.full_name != "embed")


def all_differ(values):
    return all(a != b for a, b in itertools.combinations(values, 2))


@settings(max_examples=50, deadline=None)
@given(
    st.none() | st.just("plugin"),
    st.dictionaries(st.sampled_from(["G", "P", "G_2"]), EMBEDDINGS),
    st.dictionaries(st.sampled_from(["k", "ridge", "Mixed", "_x"]), VALUES),
    st.dictionaries(
        st.sampled_from(["z", "y"]), st.lists(VALUES, min_size=2, max_size=4).filter(all_differ).map(tuple)
    ),
    st.dictionaries(st.just("Q"), st.lists(EMBEDDINGS, min_size=2, max_size=3).filter(all_differ).map(tuple)),
)
def test_any_model_reads_back_from_its_text(plugin, slots, params, grid, slot_grid):
    spec = ModelSpec(plugin, "linear", slots, params, grid | slot_grid)
    assert parse_model(spec.text()) == spec
    assert parse_model(spec.text()).text() == spec.text()


@settings(max_examples=50, deadline=None)
@given(EMBEDDINGS)
def test_any_embedding_reads_back_from_its_text(made):
    assert parse_embedding(made.text()) == made


def test_a_file_of_a_slot_is_made_absolute_and_a_dataset_stays(tmp_path):
    spec = parse_model("linear[G=table:../genes.csv, P=transfer:other[k=3]]").resolved(tmp_path, {"other"})
    assert spec.slots["G"].argument == str(tmp_path / "../genes.csv")
    assert spec.slots["P"] == EmbeddingSpec(None, "transfer", "other", {"k": 3})
    assert spec.slots["G"].shown().text() == "table:genes.csv"
    assert spec.resolved(tmp_path / "elsewhere", ()).slots["G"] == spec.slots["G"]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20) | st.lists(st.sampled_from('m[]{}=,":/\\| 1GkP'), max_size=20).map("".join))
def test_any_text_is_a_model_or_a_recipe_error(text):
    for parse in (parse_model, parse_seeds):
        try:
            parse(text)
        except RecipeError as error:
            assert repr(text)[1:-1] in str(error) or text.strip() in str(error) or "out of range" in str(error)
