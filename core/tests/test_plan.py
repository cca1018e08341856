"""The plan of a recipe: which jobs, and on what their keys depend."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pertharness.contract.cards import (
    DatasetOffer,
    EmbeddingOffer,
    MetricOffer,
    ModelOffer,
    ParameterHelp,
    RemoteFile,
    ScorerOffer,
    SideFile,
)  # fmt: skip
from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import Artefact, Job, PluginRef, Stage, Status
from pertharness.contract.options import PREDICTION_OPTIONS, ScoreOptions, kind_of_prediction
from pertharness.files.whole import sha256_file
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.plan import Plan, Source, build_plan, plan_common_genes, primary_metric
from pertharness.host.plan.inputs import Input, job_fields, key_inputs, needs, sums
from pertharness.host.plugins.registry import Offered, Plugin, Problem, Registry
from pertharness.host.recipe import Recipe, parse_recipe, recipe_text
from pertharness.host.store import keys as host_keys
from pertharness.host.store.records import Store

DATA = Plugin(PluginRef(name="datasets", module="data", version="1"), Path("python"), "source-d", "environment")
MINE = Plugin(PluginRef(name="mine", module="mine", version="1"), Path("python"), "source-m", "environment")


def model(name: str, **fields: Any) -> ModelOffer:
    usual = {
        "summary": name,
        "tasks": ("double", "single"),
        "input": "pseudobulk",
        "information": "training",
        "deterministic": True,
    }
    return ModelOffer.model_validate({"name": name, **usual, **fields})


STAGES = ("datasets", "splits", "predictions", "scores")
MODELS = (
    model("mean"), model("ridge", params={"k": 10}, params_help={"k": {"formerly": ["rank"]}}),
    model("deep", deterministic=False, input="cells", uses_validation=True), model("embedded", slots={"G": "gene"}),
)  # fmt: skip
EMBEDDINGS = (
    EmbeddingOffer(name="genes", summary="genes", kinds=("gene",), deterministic=True, params={"k": 10}),
    EmbeddingOffer(name="chance", summary="by chance", kinds=("gene",)),
    EmbeddingOffer(name="table", summary="table", kinds=("gene",), takes_file=True, deterministic=True),
    EmbeddingOffer(name="transfer", summary="screen", kinds=("gene",), takes_reference=True, deterministic=True),
    EmbeddingOffer(name="perturbations", summary="perturbations", kinds=("perturbation",)),
)


def make_registry(mine: Plugin = MINE) -> Registry:
    return Registry(
        plugins={"datasets": DATA, "mine": mine},
        datasets={
            "demo": Offered(DATA, DatasetOffer(name="demo", summary="demo", params={"seed": 1})),
            "h5ad": Offered(
                DATA, DatasetOffer(name="h5ad", summary="file", takes_file=True, params={"label_map": None})
            ),
        },
        embeddings={offer.name: Offered(mine, offer) for offer in EMBEDDINGS},
        models={offer.name: Offered(mine, offer) for offer in MODELS},
        scorers={
            "l2": Offered(
                mine, ScorerOffer(name="l2", summary="l2", metrics=(MetricOffer(id="l2", direction="lower", best=0.0),))
            )
        },
    )


def plan_recipe(recipe: Recipe, registry: Registry, folder: Path, sources: Mapping[str, Source]) -> Plan:
    store = Store.open(folder / "store")
    return build_plan(recipe, registry, store, sources, local_executor(store.root))


def plan_of(
    tmp_path: Path, registry: Registry | None = None, sources: dict[str, Source] | None = None, **fields: Any
) -> Plan:
    usual = {
        "datasets": {"demo": {}},
        "seeds": [1, 2],
        "tasks": [{"split": {"kind": "double"}}],
        "models": ["mean", "ridge"],
    }
    recipe = Recipe.model_validate({**usual, **fields})
    return plan_recipe(recipe, registry or make_registry(), tmp_path, sources or {})


def keys(plan: Plan, stage: str) -> set[str]:
    return {key for key, node in plan.nodes.items() if node.stage == stage}


def nodes(plan: Plan, stage: str) -> list[Node]:
    return [node for node in plan.nodes.values() if node.stage == stage]


def test_each_job_is_planned_once_and_after_what_it_needs(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    # 1 dataset, 2 splits, 2 models x 2 splits, 1 scorer each
    assert [len(keys(plan, stage)) for stage in STAGES] == [1, 2, 4, 4]
    order = list(plan.nodes)
    for key, node in plan.nodes.items():
        assert all(order.index(need) < order.index(key) for need in node.needs)


def test_score_jobs_of_one_split_share_all_but_the_prediction(tmp_path: Path) -> None:
    scored = nodes(plan_of(tmp_path), "scores")
    assert len({node.job.inputs["prediction"] for node in scored}) == len(scored) == 4
    for node in scored:
        files = node.job.inputs
        needs = [files["pseudobulk"].parent.name, files["split"].parent.name, files["prediction"].parent.name]
        assert list(node.needs) == needs
    splits = {node.job.inputs["split"]: node.job.task for node in scored}
    assert sorted(task.split_seed for task in splits.values() if task) == [1, 2]


def test_tasks_of_one_name_have_splits_of_their_own(tmp_path: Path) -> None:
    tasks = [
        {"name": "same", "split": {"kind": kind}, "dataset": name} for kind in ("double", "unseen") for name in "ab"
    ]
    data = {"a": {"offer": "demo"}, "b": {"offer": "demo", "params": {"seed": 2}}}
    with pytest.raises(RecipeError, match="two spellings of one model, or two tasks of the same name"):
        plan_of(tmp_path, datasets=data, tasks=tasks)
    plan = plan_of(tmp_path, datasets=data, tasks=tasks[1:3], seeds=[1])
    assert len(keys(plan, "splits")) == 2


def test_which_genes_a_prediction_lacks_is_known_by_its_content(tmp_path: Path) -> None:
    import h5py
    import numpy as np

    plan = plan_of(tmp_path, seeds=[1], tasks=[{"split": {"kind": "double"}, "common_set": ["mean", "ridge"]}])
    l2 = plan.scorers["l2"].metrics[0].model_copy(update={"variants": ("default", "common-genes")})
    plan.scorers["l2"] = plan.scorers["l2"].model_copy(update={"metrics": (l2,)})
    store, outcomes = Store.open(tmp_path / "store"), {key: Outcome("done") for key in plan.nodes}
    for number, attempt in enumerate(plan.attempts):
        path = store.record("predictions", attempt.prediction) / "prediction.h5ad"
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            file["X"] = np.where(np.arange(3) < number, np.nan, 1.0)[None]
            file.create_group("var").attrs["_index"] = "_index"
            file["var"]["_index"] = ["G1", "G2", "G3"]
        artefacts = {path.name: Artefact(size=path.stat().st_size, sha256=sha256_file(path))}
        outcomes[attempt.prediction] = Outcome(
            "done", "", Status(key=attempt.prediction, state="done", artefacts=artefacts)
        )
    missing: dict[str, list[str]] = {}
    added = plan_common_genes(plan, outcomes, store, missing)
    assert [node.job.options["lacking"] for node in added] == [["G1"], ["G1"]]
    assert sorted(missing.values()) == [[], ["G1"]]
    for attempt in plan.attempts:
        (store.record("predictions", attempt.prediction) / "prediction.h5ad").unlink()
    assert plan_common_genes(plan, outcomes, store, missing) == added


def test_the_same_recipe_has_the_same_keys_in_any_store(tmp_path: Path) -> None:
    assert list(plan_of(tmp_path / "a").nodes) == list(plan_of(tmp_path / "b b ü").nodes)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"seeds": [1, 2, 3]}, set(STAGES)),  # more, none another
        ({"models": ["mean", "ridge[k=4]"]}, {"datasets", "splits"}),
        ({"tasks": [{"split": {"kind": "unseen"}}]}, {"datasets"}),
        ({"datasets": {"demo": {"params": {"seed": 2}}}}, set()),
        ({"resources": {"device": "cuda:1"}}, {"datasets", "splits"}),
        ({"resources": {"jobs": 7, "timeout_s": 5, "memory_mb": 100}}, set(STAGES)),
        ({"tasks": [{"split": {"kind": "double"}, "score_on": ["test", "val"]}]}, {"datasets", "splits"}),
        ({"tasks": [{"split": {"kind": "double"}, "reference": "ridge"}]}, set(STAGES)),
    ],
)  # fmt: skip
def test_a_change_alters_the_keys_of_what_depends_on_it(change: dict[str, Any], kept: set[str], tmp_path: Path) -> None:
    before, after = plan_of(tmp_path), plan_of(tmp_path, **change)
    same = {
        stage for stage in ("datasets", "splits", "predictions", "scores") if keys(before, stage) <= keys(after, stage)
    }
    assert same == kept


def test_a_changed_plugin_alters_only_its_own_records(tmp_path: Path) -> None:
    before, after = plan_of(tmp_path), plan_of(tmp_path, make_registry(replace(MINE, source="another")))
    assert keys(before, "splits") == keys(after, "splits")
    assert not keys(before, "predictions") & keys(after, "predictions")


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        ("datasets", set()),
        ("splits", {"datasets"}),
        ("predictions", {"datasets", "splits"}),
        ("scores", {"datasets", "splits", "predictions"}),
        ("halves", set(STAGES)),  # only what a run that calibrates adds depends on these
        ("embeddings", set(STAGES)),  # these models have none
        ("cards", set(STAGES)),
    ],
)
def test_the_number_of_a_stage_is_in_its_keys_and_in_no_others(
    stage: Stage, kept: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan_of(tmp_path)
    monkeypatch.setattr(host_keys, "STAGE_VERSIONS", {**host_keys.STAGE_VERSIONS, stage: 99})
    after = plan_of(tmp_path)
    assert {name for name in STAGES if keys(before, name) == keys(after, name)} == kept
    assert {name for name in STAGES if not keys(before, name) & keys(after, name)} == {*STAGES} - kept


def test_a_release_or_a_new_place_of_the_core_alters_no_record(tmp_path: Path) -> None:
    def of(version: str, module: str, source: str) -> Plan:
        own = Plugin(PluginRef(name="datasets", module=module, version=version), Path("python"), source, "environment")
        registry = make_registry()
        registry.plugins["datasets"] = own
        registry.datasets = {name: Offered(own, one.offer) for name, one in registry.datasets.items()}
        return plan_of(tmp_path, registry)

    first = of("0.1.0", "pertharness.datasets", "source")
    assert list(first.nodes) == list(of("0.2.0", "pertharness.loading", "another").nodes)
    assert not set(first.nodes) & set(of("0.1.0", "third_party.datasets", "source").nodes)


def test_the_key_can_be_made_again_from_the_job_as_it_was_written(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path, models=["mean", "ridge[k=4]", "deep", "embedded[G=genes]"], training_seeds=[1, 2], **CALIBRATE
    )
    for key, node in plan.nodes.items():
        job = Job.model_validate_json(node.job.model_dump_json(indent=1))
        assert host_keys.key_of(job) == key == node.key
        assert host_keys.key_of(job.model_copy(update={"seed": job.seed + 1})) != key
    scored = next(iter(nodes(plan, "scores"))).job
    lacking = [scored.model_copy(update={"options": {**scored.options, "lacking": [gene]}}) for gene in ("A", "B")]
    assert len({host_keys.key_of(job) for job in [scored, *lacking]}) == 3
    with pytest.raises(ValueError, match="no key_parts"):
        host_keys.key_of(scored.model_copy(update={"key_parts": None}))


def test_the_content_of_a_file_is_in_the_key_and_its_name_is_not(tmp_path: Path) -> None:
    screen = tmp_path / "x.h5ad"
    screen.write_text("")

    def key(path: str, sha256: str) -> set[str]:
        given = {"screen": {"file": str(screen)}}
        return keys(plan_of(tmp_path, sources={"screen": Source(Path(path), sha256)}, datasets=given), "datasets")

    assert key("/a/x.h5ad", "1") == key("/b/y.h5ad", "1")
    assert key("/a/x.h5ad", "1") != key("/a/x.h5ad", "2")


def test_the_content_of_a_label_map_is_in_the_key_and_its_name_is_not(tmp_path: Path) -> None:
    def key(label_map: object) -> set[str]:
        given = {"screen": {"file": str(tmp_path / "x.h5ad"), "params": {"label_map": label_map}}}
        return keys(plan_of(tmp_path, sources={"screen": Source(tmp_path, "1")}, datasets=given, tasks=[]), "datasets")

    for name, targets in (("a", "KLF1"), ("b", "KLF1"), ("c", "drop")):
        (tmp_path / name).write_text(f"label,targets\nx,{targets}\n", encoding="utf-8")
    assert key(str(tmp_path / "a")) == key(str(tmp_path / "b")) == key({"x": "KLF1"})
    assert key(str(tmp_path / "a")) != key(str(tmp_path / "c"))
    with pytest.raises(RecipeError, match=r"dataset 'screen': the label map '.*absent' cannot be read"):
        key(str(tmp_path / "absent"))


def test_only_a_model_that_learns_by_chance_is_done_for_every_training_seed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, models=["mean", "deep"], training_seeds=[1, 2, 3], seeds=[1])
    assert [attempt.training_seed for attempt in plan.attempts if attempt.model == "mean"] == [1]
    assert [attempt.training_seed for attempt in plan.attempts if attempt.model == "deep"] == [1, 2, 3]


CALIBRATE = {"comparison": {"calibrate": True}}


@pytest.mark.parametrize("name", ["dataset", "split", "prediction", "halves"])
def test_a_reference_may_have_the_name_of_another_input_of_a_score_job(name: str, tmp_path: Path) -> None:
    registry = make_registry()
    metric = MetricOffer(id="worth", direction="higher", best=None, level="task")
    offer = ScorerOffer(name="noise", summary="noise", metrics=(metric,), calibrates=True)
    registry.scorers["noise"] = Offered(MINE, offer)

    def planned(seed: int) -> Plan:
        datasets = {"demo": {}, name: {"offer": "demo", "params": {"seed": seed}}}
        task = {"name": "t", "split": {"kind": "double"}, "dataset": "demo", "references": [name]}
        return plan_of(tmp_path, registry, datasets=datasets, tasks=[task], seeds=[1], models=["mean"], **CALIBRATE)

    plan, other = planned(2), planned(3)
    for node in nodes(plan, "scores"):
        assert node.job.key_parts is not None
        read = {path.parent.name for path in node.job.inputs_by_role().values()}
        assert set(node.job.key_parts.inputs.values()) == set(node.needs) == read
    scored = [
        {attempt.scores[scorer] for attempt in each.attempts} for each in (plan, other) for scorer in ("l2", "noise")
    ]
    assert len(set.union(*scored)) == 4


def test_two_inputs_of_one_name_in_the_key_are_refused() -> None:
    first = Input("split", "a", Path("/s/a/split.json"))
    assert key_inputs([first, Input("train", "a", Path("/s/a/train.h5ad"), key_role="split")]) == {"split": "a"}
    with pytest.raises(ValueError, match=r"enter the key as 'split'; this is a bug"):
        key_inputs([first, Input("train", "b", Path("/s/b/train.h5ad"), key_role="split")])


def test_an_input_gives_the_job_its_file_the_key_its_part_and_the_plan_its_order() -> None:
    inputs = [
        Input("split", "a", Path("/s/a/split.json")),
        Input("train", "a", Path("/s/a/train.h5ad"), key_role="split"),
        Input("reference b", "b", Path("/s/b/means.h5ad"), key_role="b"),
        Input("slot G", "g", Path("/s/g/embedding.h5ad")),
        Input("weights/there", None, Path("/w/there"), "1234"),
        Input("weights/absent", None, None, "missing: never fetched"),
        Input("drawn", None, Path("split.json"), "5678", key_role="rule"),
    ]
    assert key_inputs(inputs) == {
        "split": "a", "b": "b", "slot G": "g", "weights/there": "1234", "weights/absent": "missing: never fetched",
        "rule": "5678",
    }  # fmt: skip
    assert needs(inputs) == ("a", "b", "g")
    assert sums(inputs) == {"weights/there": "1234"}  # what the job itself will write has no sum yet
    fields = job_fields(inputs, lambda: Path("/made"))
    assert fields["references"] == {"b": Path("/s/b/means.h5ad")}
    assert fields["embeddings"] == {"G": Path("/s/g/embedding.h5ad")}
    assert fields["inputs"] == {
        "split": Path("/s/a/split.json"), "train": Path("/s/a/train.h5ad"), "weights/there": Path("/w/there"),
        "drawn": Path("/made/split.json"),
    }  # fmt: skip
    job = Job(key="k", stage="predictions", plugin=MINE.ref, **fields)
    assert job.inputs_by_role() == {
        each.role: Path("/made") / each.file for each in inputs if each.file is not None
    }  # fmt: skip


def test_the_kinds_of_prediction_jobs_are_told_apart_by_their_files(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("")
    reader = model("reader", params={"file": ""}, file_params=("file",))  # a model may have a parameter of that name
    registry = make_registry()
    registry.models["reader"] = Offered(MINE, reader)
    plan = plan_of(
        tmp_path, registry, models=["mean", f"reader[file={path}]"], seeds=[1],
        predictions=[{"name": "theirs", "file": str(path), "dataset": "demo"}], **CALIBRATE,
    )  # fmt: skip
    kinds = {node.job.name: kind_of_prediction(node.job) for node in nodes(plan, "predictions")}
    assert kinds == {"mean": "model", "reader": "model", "theirs": "external", "technical_duplicate": "duplicate"}
    for node in nodes(plan, "predictions"):
        options = PREDICTION_OPTIONS[kind_of_prediction(node.job)].model_validate(node.job.options)
        assert options.written() == node.job.options
    for node in nodes(plan, "scores"):
        assert ScoreOptions.model_validate(node.job.options).written() == node.job.options


def test_calibration_alters_no_job_and_adds_the_halves_the_duplicates_and_their_scores(tmp_path: Path) -> None:
    before, after = plan_of(tmp_path), plan_of(tmp_path, **CALIBRATE)
    assert set(before.nodes) <= set(after.nodes)
    # 1 halving; a duplicate for each of 2 splits; half scores of 2 models and the duplicate on 2 splits
    assert [len(keys(after, stage) - keys(before, stage)) for stage in ("halves", "predictions", "scores")] == [1, 2, 6]
    assert [replace(attempt, half={}) for attempt in after.attempts] == before.attempts
    order = list(after.nodes)
    for key, node in after.nodes.items():
        assert all(order.index(need) < order.index(key) for need in node.needs)


def test_a_scorer_that_calibrates_is_asked_only_by_a_run_that_does(tmp_path: Path) -> None:
    registry = make_registry()
    worth = MetricOffer(id="worth", direction="higher", best=None, level="task")
    offer = ScorerOffer(name="noise", summary="noise", metrics=(worth,), calibrates=True)
    registry.scorers["noise"] = Offered(MINE, offer)
    assert set(plan_of(tmp_path, registry).scorers) == {"l2"}
    with pytest.raises(RecipeError, match="add --calibrate"):
        plan_of(tmp_path, registry, scorers=["noise"])
    plan = plan_of(tmp_path, registry, **CALIBRATE)
    reading = {node.job.name for node in nodes(plan, "scores") if "halves" in node.job.inputs}
    assert reading == {"noise", "l2"}
    assert {name for attempt in plan.attempts for name in attempt.half} == {"l2"}


def with_side_files(*files: SideFile) -> Registry:
    """A registry whose demo has side files, beside models that take one and that do not."""
    registry = make_registry()
    demo = registry.datasets["demo"]
    registry.datasets["demo"] = Offered(demo.plugin, demo.offer.model_copy(update={"side_files": files}))
    published = RemoteFile(url="http://127.0.0.1/terms.csv", filename="terms.csv", optional=True)
    terms = {"side_files": ("terms.csv",), "weights": (published,)}
    registry.models |= {"termed": Offered(MINE, model("termed", **terms))}
    return registry


def test_a_side_file_that_its_plugin_makes_is_a_job_of_those_who_take_it(tmp_path: Path) -> None:
    with_file = with_side_files(SideFile(name="terms.csv"))
    data = {"demo": {}, "other": {"offer": "demo", "params": {"seed": 2}}}
    plan = plan_of(tmp_path, with_file, models=["mean", "termed"], datasets=data)
    made = {node.job.params["seed"]: node for node in nodes(plan, "side_files")}
    assert {node.job.options["file"] for node in made.values()} == {"terms.csv"}
    assert [node.job.inputs for node in made.values()] == [{}, {}]  # it reads no data, so it holds none
    for node in nodes(plan, "predictions"):
        takes = node.job.name == "termed"
        assert ("weights/terms.csv" in node.job.inputs) == takes
        assert bool(set(node.needs) & {each.key for each in made.values()}) == takes
    assert set(made) == {1, 2}
    # Who takes none depends on none, and without a side file nothing changes.
    before = plan_of(tmp_path, with_side_files(), models=["mean", "termed"], datasets=data)
    same = {(node.job.name, node.key) for node in nodes(plan, "predictions")}
    same &= {(node.job.name, node.key) for node in nodes(before, "predictions")}
    assert {name for name, _ in same} == {"mean"}
    assert keys(plan, "datasets") == keys(before, "datasets")
    assert not nodes(before, "side_files")


def test_a_side_file_of_the_dataset_stands_for_one_of_the_model(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PERTHARNESS_DATA", str(tmp_path / "data"))
    for plugin, text in (("mine", "of the model"), ("datasets", "of the dataset")):
        file = tmp_path / "data" / "weights" / plugin / "terms.csv"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    source = RemoteFile(url="http://127.0.0.1/demo/terms.csv", filename="terms.csv", licence="MIT")
    for files, expected in (((), set()), ((SideFile(name="terms.csv", source=source),), {"of the dataset"})):
        plan = plan_of(tmp_path, with_side_files(*files), models=["termed"])
        named = {node.job.inputs["weights/terms.csv"].read_text() for node in nodes(plan, "predictions")
                 if "weights/terms.csv" in node.job.inputs}  # fmt: skip
        assert named == expected  # the model's own one has a licence to be accepted first


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "terms.json"}, "'terms.json' is made by the plugin; expected a CSV"),
        ({"name": "a.csv", "source": {"url": "u", "filename": "b.csv"}}, "'a.csv' is published as 'b.csv'"),
        ({"name": "../a.csv"}, "name"),
    ],
)
def test_a_side_file_that_cannot_be_had_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SideFile.model_validate(fields)


def test_help_on_parameters_enters_no_key(tmp_path: Path) -> None:
    plain, helped = make_registry(), make_registry()
    for registry, texts in ((plain, {}), (helped, {"k": ParameterHelp(type="integer", help="how many")})):
        for offers in (registry.models, registry.scorers, registry.datasets):
            for name, one in offers.items():
                changed = one.offer.model_copy(update={"params": {**one.offer.params, "k": 1}, "params_help": texts})
                offers[name] = Offered(one.plugin, changed)
    assert set(plan_of(tmp_path, plain).nodes) == set(plan_of(tmp_path, helped).nodes)


def test_no_model_may_have_the_name_of_the_duplicate(tmp_path: Path) -> None:
    registry = make_registry()
    registry.models["technical_duplicate"] = Offered(MINE, model("technical_duplicate"))
    with pytest.raises(RecipeError, match="the name 'technical_duplicate' is reserved"):
        plan_of(tmp_path, registry, models=["technical_duplicate"], **CALIBRATE)


def test_a_model_job_names_nothing_that_holds_the_truth(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, models=["mean", "deep"])
    for node in nodes(plan, "predictions"):
        named = [*node.job.inputs.values(), *node.job.references.values(), *node.job.embeddings.values()]
        assert named
        assert {path.parent.parent.name for path in named} == {"splits"}
    inputs = {node.job.name: set(node.job.inputs) for node in nodes(plan, "predictions")}
    assert inputs == {"mean": {"train", "split"}, "deep": {"train", "split", "val"}}


def test_an_embedding_is_a_job_of_its_own_and_fills_the_slot(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, models=["embedded[G=embed:genes]"], seeds=[1])
    (embedding,), (prediction,) = nodes(plan, "embeddings"), nodes(plan, "predictions")
    assert embedding.key in prediction.needs
    assert prediction.job.embeddings["G"].parent.name == embedding.key
    assert plan.attempts[0].label == "embedded[G=embed:genes]"
    assert embedding.title.startswith("embedding G=embed:genes on demo")


def test_a_job_s_title_names_slots_and_parameters_as_the_leaderboard(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, models=["ridge", "ridge[k=4]"], seeds=[1])
    titles = [node.title.split(" on ")[0] for node in nodes(plan, "predictions")]
    assert titles == [attempt.label for attempt in plan.attempts] == ["ridge", "ridge[k=4]"]


TWO = {"demo": {}, "other": {"offer": "demo", "params": {"seed": 2}}}


def test_a_screen_fills_a_slot_in_both_directions_and_never_its_own(tmp_path: Path) -> None:
    models = ["embedded[G=transfer:demo]", "embedded[G=transfer:other[]]"]
    plan = plan_of(tmp_path, models=models, datasets=TWO, seeds=[1])
    reasons = {(attempt.dataset, attempt.label): attempt.reason for attempt in plan.attempts}
    own = "'transfer:{0}' is the task's own screen, with the perturbations to be predicted"
    assert reasons == {
        ("demo", "embedded[G=transfer:demo]"): own.format("demo"), ("demo", "embedded[G=transfer:other]"): "",
        ("other", "embedded[G=transfer:demo]"): "", ("other", "embedded[G=transfer:other]"): own.format("other"),
    }  # fmt: skip
    assert len(nodes(plan, "embeddings")) == 2
    for node in nodes(plan, "embeddings"):
        ((name, path),) = node.job.references.items()
        assert path.parent.name == plan.datasets[name]
        assert path.name == "pseudobulk.h5ad"
        assert plan.datasets[name] in node.needs


def test_a_screen_under_another_name_is_still_the_task_s_own(tmp_path: Path) -> None:
    datasets = {"demo": {}, "again": {"offer": "demo"}}
    plan = plan_of(tmp_path, models=["embedded[G=transfer:again]"], datasets=datasets, seeds=[1])
    assert all("task's own screen" in attempt.reason for attempt in plan.attempts)


def test_a_copy_of_a_file_is_the_same_screen_and_another_file_is_not(tmp_path: Path) -> None:
    reasons = {}
    for name, content in (("copy", "1"), ("other", "2"), ("longer", "12")):
        for path, text in ((tmp_path / "x.h5ad", "1"), (tmp_path / f"{name}.h5ad", content)):
            path.write_text(text)
        datasets = {each: {"file": str(tmp_path / f"{each}.h5ad")} for each in ("x", name)}
        sources = {each: Source(tmp_path / f"{each}.h5ad", sha256_file(tmp_path / f"{each}.h5ad")) for each in datasets}
        plan = plan_of(
            tmp_path, sources=sources, models=[f"embedded[G=transfer:{name}]"], datasets=datasets, seeds=[1],
            tasks=[{"split": {"kind": "double"}, "dataset": "x"}],
        )  # fmt: skip
        reasons[name] = plan.attempts[0].reason
    assert "task's own screen" in reasons.pop("copy")
    assert set(reasons.values()) == {""}


def test_an_embedding_that_nobody_offers_shows_the_model_as_skipped(tmp_path: Path) -> None:
    (attempt,) = plan_of(tmp_path, models=["embedded[G=embed:gens]"], seeds=[1]).attempts
    assert (attempt.state, attempt.prediction, attempt.label) == ("skipped", "", "embedded[G=embed:gens]")
    assert attempt.reason == "not installed: embedding 'gens'; did you mean 'genes'?"


def test_a_file_s_content_is_in_the_key_and_only_its_name_on_the_leaderboard(tmp_path: Path) -> None:
    def plan(name: str, content: str) -> Plan:
        path = tmp_path / name / "t.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        plan = plan_of(tmp_path, models=[f"embedded[G=table:{path}]"], seeds=[1])
        (node,) = nodes(plan, "embeddings")
        assert node.job.inputs["source"] == path
        assert plan.attempts[0].label == "embedded[G=table:t.csv]"
        return plan

    one, other, changed = plan("a", "1"), plan("b c", "1"), plan("a", "2")
    assert keys(one, "predictions") == keys(other, "predictions")
    assert not keys(one, "predictions") & keys(changed, "predictions")
    assert not keys(one, "embeddings") & keys(changed, "embeddings")


def test_the_path_of_a_file_starts_at_the_recipe_and_is_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "genes.csv").write_text("")
    text = 'models = ["embedded[G=table:genes.csv]"]\n[datasets.demo]\n[[tasks]]\nsplit = { kind = "double" }\n'
    recipe = parse_recipe(text, "r.toml", tmp_path)
    again = parse_recipe(recipe_text(recipe), "copy.toml", Path("/elsewhere"))
    assert again == recipe
    (node, *_) = nodes(plan_recipe(again, make_registry(), tmp_path, {}), "embeddings")
    assert node.job.inputs["source"] == tmp_path / "genes.csv"


def test_an_embedding_by_chance_is_made_for_every_training_seed_and_another_once(tmp_path: Path) -> None:
    models = ["embedded[G=chance]", "embedded[G=genes]"]
    plan = plan_of(tmp_path, models=models, training_seeds=[3, 4], seeds=[1])
    seeds = [(node.job.name, node.job.seed) for node in nodes(plan, "embeddings")]
    assert seeds == [("chance", 3), ("chance", 4), ("genes", 3)]
    assert len(nodes(plan, "predictions")) == 3


def test_defaults_of_an_embedding_are_not_in_the_name(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, models=["embedded[G=genes[k=10]]", "embedded[G=genes[k=3]]"], seeds=[1])
    assert [attempt.label for attempt in plan.attempts] == ["embedded[G=genes]", "embedded[G=genes[k=3]]"]
    assert plan.attempts[1].params == "G=genes[k=3]"


def test_an_embedding_is_made_of_means_also_for_a_model_of_cells(tmp_path: Path) -> None:
    registry = make_registry()
    registry.models["celled"] = Offered(MINE, model("celled", input="cells", slots={"G": "gene"}))
    plan = plan_of(tmp_path, registry, models=["embedded[G=genes]", "celled[G=genes]"], seeds=[1])
    assert len(nodes(plan, "embeddings")) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"datasets": {"demoo": {}}}, "did you mean 'demo'"),
        ({"scorers": ["l3"]}, "there is no scorer 'l3'; expected one of 'l2'"),
        ({"models": ["ridge[K=4]"]}, "no parameter 'K'"),
        ({"models": ["embedded[G=4]"]}, "'G' of 'embedded' is a slot, not a parameter; .* as in G=random or G=table:"),
        ({"models": ["embedded[g=random]"]}, "the slot 'G' has a capital; fill it with an embedding, as in G=random"),
        ({"models": ["ridge[rank=4]"]}, "the parameter 'rank' of 'ridge' is called 'k' now; write k=VALUE"),
        ({"models": ["ridge[k=four]"]}, "k is 'four'; expected a value such as 10"),
        ({"models": ["ridge[k=4.5]"]}, "k is 4.5"),
        ({"datasets": {"demo": {"params": {"sed": 1}}}}, "did you mean 'seed'"),
        ({"models": ["embedded[H=embed:genes]"]}, "no slot 'H'"),
        ({"models": ["embedded[G=perturbations]"]}, "makes no gene embedding, which the slot 'G' needs"),
        ({"models": ["embedded[G=genes:x]"]}, "'genes' takes no file and no dataset"),
        ({"models": ["embedded[G=genes[K=2]]"]}, "no parameter 'K'"),
        ({"models": ["embedded[G=table]"]}, "'table' is made of a file; expected table:FILE"),
        ({"models": ["embedded[G=table:nothere.csv]"]}, "'table:nothere.csv': there is no file '/"),
        ({"models": ["embedded[G=table:.]"]}, "it is a folder"),
        ({"models": ["embedded[G=transfer]"]}, "'transfer' is made of another screen; expected one of 'demo'"),
        ({"models": ["embedded[G=transfer:demoo]"]}, "no dataset 'demoo' in this recipe; did you mean 'demo'"),
        ({"models": ["mean", "mine/mean"]}, "duplicate model 'mean'"),
        ({"models": ["ridge", "ridge[k=10]"]}, "duplicate model 'ridge'"),
        ({"tasks": [{"split": {"kind": "double"}, "reference": "ridgee"}]}, "did you mean 'ridge'"),
        ({"tasks": [{"split": {"kind": "double"}, "common_set": ["mean", "nothere"]}]}, "compares with 'nothere'"),
        ({"comparison": {"metric": "rmse"}}, "no scorer of this run computes 'rmse'"),
        ({"scorers": ["l2", "l2[n=1]"]}, "both compute the"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_named_with_what_may_have_been_meant(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        plan_of(tmp_path, **fields)


def test_a_model_that_is_not_installed_is_an_attempt_with_a_reason(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, models=["mean", "geers"], seeds=[1])
    attempt = plan.attempts[1]
    assert (attempt.model, attempt.state, attempt.prediction) == ("geers", "skipped", "")
    assert attempt.reason == "not installed: 'geers'"  # no list of what there is, once per model


def test_a_plugin_that_cannot_be_used_is_seen_when_every_model_was_asked_for(tmp_path: Path) -> None:
    registry = make_registry()
    registry.problems.append(Problem("broken", "failed", "no module"))
    everything, chosen = plan_of(tmp_path, registry, models=None), plan_of(tmp_path, registry)
    assert [(a.model, a.state) for a in everything.attempts if a.reason] == [("broken", "failed")] * 2  # both seeds
    assert not [attempt for attempt in chosen.attempts if attempt.reason]


def test_defaults_are_not_parameters_of_the_name(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, models=["ridge[k=10]", "ridge[k=4]"], seeds=[1])
    assert [attempt.label for attempt in plan.attempts] == ["ridge", "ridge[k=4]"]


def test_where_no_scorer_gives_the_usual_metric_the_first_ranks(tmp_path: Path) -> None:
    registry = make_registry()
    metric = MetricOffer(id="other", direction="higher", best=1.0)
    registry.scorers = {"other": Offered(MINE, ScorerOffer(name="other", summary="o", metrics=(metric,)))}
    assert primary_metric(plan_of(tmp_path, registry), "l2") == "other"
    assert primary_metric(plan_of(tmp_path), "l2") == "l2"


def test_a_model_that_is_left_out_stands_there_with_the_reason_and_is_not_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, models=["mean"], left_out={"ridge": "too slow", "cpa": "doubles only"})
    attempts = {(a.label, a.seed, a.state, a.reason) for a in plan.attempts if a.reason}
    reasons = {"ridge": "left out: too slow", "cpa": "left out: doubles only"}
    assert attempts == {(name, seed, "skipped", reason) for name, reason in reasons.items() for seed in (1, 2)}
    assert keys(plan, "predictions") == keys(plan_of(tmp_path, models=["mean"]), "predictions")


def test_what_is_left_out_is_none_of_all_installed_models(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, models=None, left_out={"embedded": "no embedding"}, seeds=[1])
    assert sorted(a.label for a in plan.attempts if not a.reason) == ["deep", "mean", "ridge"]
    assert [a.label for a in plan.attempts if a.reason] == ["embedded"]


@pytest.mark.parametrize(
    ("tasks", "split", "references", "planned"),
    [
        (("double",), "double", [], True),
        (("double",), "unseen", [], False),
        (("single",), "unseen", [], True),
        (("single",), "simulation", [], True),
        (("single", "transfer"), "double", [], False),
        (("transfer",), "double", [], False),
        (("transfer",), "double", ["other"], True),
        (("transfer",), "file", [], False),
        (("single",), "file", [], True),
        (("double",), "file", [], True),
    ],
)
def test_a_scorer_is_asked_only_for_tasks_that_it_is_for(
    tasks: tuple[Any, ...], split: str, references: list[str], planned: bool, tmp_path: Path
) -> None:
    registry = make_registry()
    metric = MetricOffer(id="extra", direction="higher", best=1.0, level="task")
    offer = ScorerOffer(name="extra", summary="e", metrics=(metric,), tasks=tasks)
    registry.scorers["extra"] = Offered(MINE, offer)
    (tmp_path / "split.json").write_text("{}")
    file = {"file": str(tmp_path / "split.json")} if split == "file" else {}
    task = {"name": "t", "dataset": "demo", "split": {"kind": split, **file}, "references": references}
    datasets: dict[str, Any] = {"demo": {}, "other": {"offer": "demo"}}
    plan = plan_of(tmp_path, registry, tasks=[task], datasets=datasets, seeds=[1], models=["mean"])
    assert ("extra" in plan.attempts[0].scores) == planned
    assert "l2" in plan.attempts[0].scores


def test_a_metric_of_curves_ranks_nothing_and_one_of_perturbations_goes_before_one_of_splits(tmp_path: Path) -> None:
    registry = make_registry()
    metrics = [
        MetricOffer(id=level, direction="higher", best=1.0, level=level) for level in ("curve", "task", "perturbation")
    ]  # fmt: skip
    registry.scorers = {"x": Offered(MINE, ScorerOffer(name="x", summary="x", metrics=tuple(metrics)))}
    plan = plan_of(tmp_path, registry)
    assert primary_metric(plan, "l2") == "perturbation"
    assert primary_metric(plan, "task") == "task"
    with pytest.raises(RecipeError, match="no scorer of this run computes 'curve'"):
        primary_metric(plan, "curve")


def test_a_file_that_a_parameter_names_enters_the_key_by_its_content(tmp_path: Path) -> None:
    offer = model("reader", params={"terms": ""}, file_params=("terms",))
    registry = make_registry()
    registry.models["reader"] = Offered(MINE, offer)
    path = tmp_path / "terms.csv"
    path.write_text("a")
    named = {"models": [f"reader[terms={path}]"], "seeds": [1]}
    before = keys(plan_of(tmp_path, registry, **named), "predictions")
    assert keys(plan_of(tmp_path, registry, **named), "predictions") == before
    (node,) = nodes(plan_of(tmp_path, registry, **named), "predictions")
    assert node.job.inputs_by_role()["file terms"] == path  # else its sandbox would not hold it
    assert node.sums == {"file terms": sha256_file(path)}
    path.write_text("b")
    assert keys(plan_of(tmp_path, registry, **named), "predictions") != before
    path.unlink()
    with pytest.raises(
        RecipeError, match=r"terms is .* which does not exist, or is not a file; expected the absolute path"
    ):
        plan_of(tmp_path, registry, **named)
    with pytest.raises(RecipeError, match=r"'terms\.csv', which is not an absolute path"):
        plan_of(tmp_path, registry, models=["reader[terms=terms.csv]"])


def test_a_file_is_named_without_its_folder_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    registry = make_registry()
    registry.models["reader"] = Offered(MINE, model("reader", params={"terms": ""}, file_params=("terms",)))
    paths = [tmp_path / name for name in ("a/terms.csv", "b/terms.csv", "b/more.csv")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("a")
    first, same_name, other = (f"reader[terms={path}]" for path in paths)
    plan = plan_of(tmp_path, registry, models=[first, other], seeds=[1])
    assert [attempt.label for attempt in plan.attempts] == ["reader[terms=terms.csv]", "reader[terms=more.csv]"]
    with pytest.raises(RecipeError, match=r"duplicate model 'reader\[terms=terms.csv\]': .*two files of the same name"):
        plan_of(tmp_path, registry, models=[first, same_name])


def test_weights_enter_the_key_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTHARNESS_DATA", str(tmp_path / "data"))
    file = {"url": "http://127.0.0.1:9/w", "filename": "w.bin", "licence": "MIT"}
    path = tmp_path / "data" / "weights" / "mine" / "w.bin"
    path.parent.mkdir(parents=True)
    registry = make_registry()

    def key_of(**fields: Any) -> tuple[str, list[str]]:
        registry.models["heavy"] = Offered(MINE, model("heavy", weights=[{**file, **fields}]))
        (node,) = nodes(plan_of(tmp_path, registry, models=["heavy"], seeds=[1]), "predictions")
        assert node.sums == ({"weights/w.bin": sha256_file(path)} if path.exists() else {})
        return node.key, [role for role in node.job.inputs if role.startswith("weights/")]

    missing, optional = key_of(), key_of(optional=True)
    assert missing[1] == optional[1] == []
    path.write_bytes(b"one")
    one = key_of()
    assert one == key_of(optional=True)
    assert one[1] == ["weights/w.bin"]
    assert len({missing[0], optional[0], one[0]}) == 3
    path.unlink()
    assert key_of()[0] == one[0]  # what was done with it is still found
    assert key_of(optional=True)[0] == optional[0]


def test_an_attempt_knows_what_its_models_card_says_of_it(tmp_path: Path) -> None:
    registry = make_registry()
    registry.models["mean"] = Offered(MINE, model("mean", constant=True, copies_training=True))
    seeing = model("seeing", information="oracle", oracle="target_expression", params={"k": 1})
    registry.models["seeing"] = Offered(MINE, seeing)
    for oracle in (True, False):
        attempts = plan_of(
            tmp_path, registry, models=["mean", "ridge", "seeing", "seeing[k=1|2]"], oracle=oracle
        ).attempts
        assert {attempt.label: (attempt.constant, attempt.copies_training, attempt.oracle) for attempt in attempts} == {
            "mean": (True, True, False), "ridge": (False, False, False), "seeing": (False, False, True),
            "seeing[k=*]": (False, False, True),
        }  # fmt: skip
