"""What is told of each model of a run: from files in a store, remembered by their content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from pertharness import make_prediction
from pertharness.contract.jobs import Artefact, Isolation, Job, PluginRef, Stage, Status
from pertharness.data.canonical import write
from pertharness.files.whole import sha256_file
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.join.facts import FOLDER, join_facts
from pertharness.host.leaderboard.model_facts import ModelFacts
from pertharness.host.plan import Attempt, Plan
from pertharness.host.recipe import TaskChoice
from pertharness.host.store.records import Store

GENES = ["g1", "g2"]
TASK = TaskChoice.model_validate({"name": "single", "dataset": "demo", "split": {"kind": "unseen"}})
LANDLOCK = Isolation(mechanism="landlock", abi=7, seccomp=True)


class Records:
    """A store with the records of a dataset, a split and predictions, and the plan that they come from."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder)
        self.plan = Plan(datasets={"demo": "dataset"})
        self.outcomes: dict[str, Outcome] = {}
        seen = {"control": [1.0, 1.0], "A": [2.0, 1.0]}
        self.record("datasets", "dataset", "pseudobulk.h5ad", {**seen, "C": [1.0, 3.0], "D": [0.5, 1.0]})
        self.record("splits", "split", "train.h5ad", seen)

    def record(
        self, stage: Stage, key: str, name: str, rows: Mapping[str, list[float]], isolation: Isolation | None = None
    ) -> Path:
        folder = self.store.record(stage, key)
        folder.mkdir(parents=True, exist_ok=True)
        write(make_prediction({label: np.array(row) for label, row in rows.items()}, GENES), folder / name)
        artefact = Artefact(size=(folder / name).stat().st_size, sha256=sha256_file(folder / name))
        status = Status(key=key, state="done", artefacts={name: artefact}, isolation=isolation)
        self.outcomes[key] = Outcome("done", status=status)
        return folder / name

    def predict(
        self, model: str, key: str, rows: Mapping[str, list[float]], *, needs: tuple[str, ...] = (), **more: bool
    ) -> Path:
        ref = PluginRef(name="some", module="some", version="1")
        self.plan.add(Node(Job(key=key, stage="predictions", plugin=ref), Path("python"), model, needs=needs))
        self.plan.attempts.append(Attempt("demo", TASK, 1, 1, "some", model, "", "split", prediction=key))
        return self.record("predictions", key, "prediction.h5ad", rows, LANDLOCK)

    def facts(self, model: str) -> ModelFacts:
        return join_facts(self.plan, self.outcomes, self.store)[("demo", "single", "some", model, "")]


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "store")


def test_all_predictions_of_a_model_are_counted_together(records: Records) -> None:
    records.predict("deep", "one", {"C": [1.0, 1.0], "D": [0.4, 0.2]})
    records.predict("deep", "two", {"C": [3.0, np.nan], "D": [3.0, np.nan]})

    facts = records.facts("deep")

    assert (facts.n, facts.n_alike, facts.n_answers, facts.n_copies, facts.example) == (2, 1, 4, 1, ("C", "control"))
    assert facts.coverage == 6 / 8
    assert facts.isolations == (LANDLOCK,)


def test_a_model_without_a_prediction_has_what_its_card_says_and_no_more(records: Records) -> None:
    records.plan.attempts.append(
        Attempt("demo", TASK, 1, 1, "some", "deep", "", "split", reason="no GPU", constant=True)
    )

    assert records.facts("deep") == ModelFacts(constant=True)


def test_equal_files_of_different_splits_are_held_against_their_own_training_data(records: Records) -> None:
    rows = {"C": [2.0, 1.0], "D": [0.4, 0.2]}
    records.predict("deep", "one", rows)
    records.record("splits", "other", "train.h5ad", {"control": [1.0, 1.0], "B": [7.0, 7.0]})
    records.predict("wide", "two", rows)
    records.plan.attempts[-1] = Attempt("demo", TASK, 2, 1, "some", "wide", "", "other", prediction="two")

    assert records.facts("deep").n_copies == 1
    assert records.facts("wide").n_copies == 0


def test_what_is_known_of_a_file_is_not_looked_up_again(records: Records) -> None:
    path = records.predict("deep", "one", {"C": [2.0, 1.0]})
    before = records.facts("deep")
    path.unlink()

    assert records.facts("deep") == before
    assert before.n_copies == 1


def test_another_content_is_looked_at(records: Records) -> None:
    records.predict("deep", "one", {"C": [2.0, 1.0]})
    assert records.facts("deep").n_copies == 1
    records.record("predictions", "one", "prediction.h5ad", {"C": [2.0, 1.5]})
    assert records.facts("deep").n_copies == 0
    records.record("splits", "split", "train.h5ad", {"control": [1.0, 1.0], "A": [2.0, 1.5]})
    assert records.facts("deep").n_copies == 1


@pytest.mark.parametrize("damage", ["", "{", '{"facts": {"x": {"alike": 1}}}', "[]"])
def test_a_damaged_memory_is_made_again(records: Records, damage: str) -> None:
    records.predict("deep", "one", {"C": [2.0, 1.0]})
    before = records.facts("deep")
    (memory,) = (records.store.root / FOLDER).iterdir()
    whole = memory.read_text(encoding="utf-8")
    memory.write_text(damage, encoding="utf-8")

    assert records.facts("deep") == before
    assert memory.read_text(encoding="utf-8") == whole


def test_a_file_that_cannot_be_read_is_told_and_the_others_are_looked_at(records: Records) -> None:
    records.predict("deep", "one", {"C": [2.0, 1.0], "D": [0.4, 0.2]}).write_bytes(b"damaged")
    records.predict("wide", "two", {"C": [2.0, 1.0]})

    assert records.facts("wide").n_copies == 1
    facts = records.facts("deep")
    assert "prediction.h5ad' cannot be read" in facts.problem
    assert (facts.n, facts.badges) == (0, [])


def test_embeddings_count_for_the_isolation_of_what_is_made_of_them(records: Records) -> None:
    records.record("embeddings", "table", "embedding.h5ad", {"C": [1.0, 1.0]}, Isolation())
    job = Job(key="table", stage="embeddings", plugin=PluginRef(name="some", module="some", version="1"))
    records.plan.add(Node(job, Path("python"), "table"))
    records.predict("deep", "one", {"C": [1.5, 1.0]}, needs=("split", "table"))

    assert records.facts("deep").isolation == "none"
