"""Some of a benchmark's models in place of all: which are meant, and what that changes in its recipes."""

import pytest
from pertharness.contract.errors import RecipeError
from pertharness.host.recipe import make_recipe
from pertharness.host.reproduce.chosen_models import choose_models, common_sets_of

DATASETS = {"here": {"offer": "demo"}, "there": {"offer": "demo"}}
SINGLES = ("deep", "mean", "linear", "linear[G=embed:deep]", "linear[P=transfer:there, k=4]")


def recipe(models=SINGLES, common_set=("deep", "mean", "linear"), reference="mean"):
    tasks = [
        {"dataset": name, "split": {"kind": "unseen"}, "reference": reference, "common_set": list(common_set)}
        for name in DATASETS
    ]
    return make_recipe({"datasets": DATASETS, "models": list(models), "tasks": tasks})


def chosen(models, **recipes):
    made = choose_models(recipes or {"single": recipe()}, models)
    return {short: [spec.text() for spec in one.models] for short, one in made.items()}


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("deep", ["deep", "mean"]),
        ("mean", ["mean"]),
        ("mean[published=true]", ["mean"]),  # what the others are compared with stays as it is
        ("linear", ["mean", "linear", "linear[G=embed:deep]", "linear[P=transfer:there, k=4]"]),
        ("linear[k=3]", ["mean", "linear[k=3]", "linear[G=embed:deep, k=3]", "linear[P=transfer:there, k=3]"]),
        ("linear[G=embed:deep]", ["mean", "linear[G=embed:deep]"]),
        ("linear[G=embed:deep[file=a.pt], k=3]", ["mean", "linear[G=embed:deep[file=a.pt], k=3]"]),
        ("linear[P=transfer:there]", ["mean", "linear[P=transfer:there, k=4]"]),
        (
            "deep[epochs=1],linear[k=3],linear[G=embed:deep]",
            ["deep[epochs=1]", "mean", "linear[k=3]", "linear[G=embed:deep]", "linear[P=transfer:there, k=3]"],
        ),
    ],
)
def test_a_choice_means_models_by_name_and_by_embedding(models, expected):
    assert chosen(models)["single"] == expected


def test_without_a_choice_nothing_changes():
    assert choose_models({"single": recipe()}, None) == {"single": recipe()}


def test_a_model_of_one_recipe_is_passed_over_by_the_other():
    double = recipe(models=("deep", "additive"), common_set=("deep", "additive"), reference="additive")
    assert chosen("linear", double=double, single=recipe()) == {
        "double": ["additive"],
        "single": ["mean", "linear", "linear[G=embed:deep]", "linear[P=transfer:there, k=4]"],
    }


def test_models_that_are_left_out_or_changed_do_not_narrow_the_comparison():
    (only,) = choose_models({"single": recipe()}, "deep[epochs=1],linear").values()
    assert {task.common_set for task in only.tasks} == {("mean", "linear")}
    (without,) = choose_models({"single": recipe()}, "deep").values()
    assert {task.common_set for task in without.tasks} == {("deep", "mean")}
    assert common_sets_of(recipe()) == dict.fromkeys(DATASETS, ("deep", "mean", "linear"))


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("liner", "--models liner: the recipe 'single' has no such model; did you mean 'linear'"),
        ("other/deep", "--models other/deep: the recipe 'single' has no such model"),
        ("linear[G=embed:other]", "the recipe 'single' has no such model; did you mean 'linear"),
        ("linear[k=3|4]", r"--models linear\[k=3\|4\]: expected one value of 'k'"),
        ("", "is not a model"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(models, message):
    with pytest.raises(RecipeError, match=message):
        choose_models({"single": recipe()}, models)
    with pytest.raises(RecipeError, match=message.replace("the recipe 'single'", "the benchmark")):
        choose_models({"single": recipe(), "double": recipe()}, models)
