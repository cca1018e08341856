"""A run of a few records, as files; imports nothing heavy, so that a test can see what is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pertharness.contract.cards import MetricOffer, ScorerOffer, TableOffer
from pertharness.contract.jobs import Artefact, Stage, State, Status
from pertharness.files.whole import sha256_text
from pertharness.host.execution.nodes import Outcome
from pertharness.host.join.memory import read_memory
from pertharness.host.join.outputs import Board, write_outputs
from pertharness.host.plan import Attempt, Plan, tasks_of
from pertharness.host.recipe import Recipe, make_recipe
from pertharness.host.store.records import Store

HEADER = "perturbation,gene,metric,variant,coordinate,value\n"
HELD = ["A+B", "B+C", "C+D", "D+E", "E+F", "F+G", "G+H"]
SCORER = ScorerOffer(
    name="l2",
    summary="",
    metrics=(
        MetricOffer(id="l2", direction="lower", best=0.0, variants=("default", "common-genes")),
        MetricOffer(id="roc", level="curve", direction="higher", best=None),
        MetricOffer(id="auc", level="task", direction="higher", best=1.0),
    ),
    tables=(TableOffer(name="spread", level="gene"),),
)


def record(store: Store, stage: Stage, key: str, files: dict[str, str] | None = None, **fields: Any) -> Outcome:
    """Write a record."""
    folder = store.record(stage, key)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (files or {}).items():
        (folder / name).write_bytes(text.encode())
    artefacts = {
        name: Artefact(size=len(text.encode()), sha256=sha256_text(text)) for name, text in (files or {}).items()
    }
    status = Status(key=key, artefacts=artefacts, **{"state": "done", **fields})
    (folder / "status.json").write_text(status.model_dump_json())
    return Outcome(status.state, status.message, status)


def score_text(model: str, seed: int, *, skip: int = 0) -> str:
    """Return a score table: l2 of all held-out perturbations but the first few, a curve, and a value of the split."""
    lines = [f"{name},,l2,default,,{(i + 1) / 3 + len(model) + seed / 7!r}" for i, name in enumerate(HELD)][skip:]
    lines += [f",,roc,default,{x},{x / 3 + seed / 9!r}" for x in (0.5, 0.25)] + [f",,auc,default,,{seed / 3!r}"]
    return HEADER + "\n".join(lines) + "\n"


def small_run(folder: Path, **scores: str) -> tuple[Recipe, Plan, dict[str, Outcome], Store]:
    """Return a run of the models ``mean``, ``some`` (without the first value), ``-odd, one`` (skipped) and ``bad``.

    `scores`: what stands in the score tables of ``mean``, ``s1`` and ``s2`` by seed, in place of what is usual.
    """
    store = Store.open(folder / "store")
    recipe = make_recipe({
        "name": "small", "datasets": {"made": {}}, "seeds": [1, 2], "comparison": {"resamples": 100},
        "tasks": [{"name": "double", "split": {"kind": "double"}, "reference": "mean", "common_set": ["mean"]}],
    })  # fmt: skip
    [task] = tasks_of(recipe)
    plan, outcomes = Plan(datasets={"made": "d0"}, scorers={"l2": SCORER}), {}
    described = "perturbation,label_given,effect,on_target\n" + "".join(f"{name},{name},1.5,True\n" for name in HELD)
    outcomes["d0"] = record(store, "datasets", "d0", {"perturbations.csv": described})
    for seed in (2, 1):
        split = json.dumps({"train": [], "val": [], "test": HELD})
        outcomes[f"s{seed}"] = record(store, "splits", f"s{seed}", {"split.json": split})
        for model in ("mean", "some", "bad"):
            key, failed = f"{model}{seed}", model == "bad"
            state: State = "failed" if failed else "done"
            unanswered = {HELD[0]: "=unknown"} if model == "some" else {}
            outcomes[key] = record(
                store, "predictions", key, state=state, message="=1+1 broke" if failed else "", unanswered=unanswered
            )
            text = score_text(model, seed, skip=1 if model == "some" else 0)
            text = scores.get(f"s{seed}", text) if model == "mean" else text
            files = {"scores.csv": text, "spread.csv": f"gene,sd,note\nG1,{seed / 3!r},-x\nG2,-1,\n"}
            outcomes[f"{key}-l2"] = (
                Outcome("failed", "=1+1 broke") if failed else record(store, "scores", f"{key}-l2", files)
            )
            plan.attempts.append(
                Attempt("made", task, seed, 1, "p", model, "", f"s{seed}", prediction=key, scores={"l2": f"{key}-l2"})
            )
        plan.attempts.append(Attempt("made", task, seed, 1, "p", "-odd, one", "", f"s{seed}", reason="no, never"))
    return recipe, plan, outcomes, store


def write(folder: Path, run: tuple[Recipe, Plan, dict[str, Outcome], Store], **manifest: Any) -> Board:
    """Write the files of a run."""
    recipe, plan, outcomes, store = run
    return write_outputs(recipe, plan, outcomes, store, folder, {"started": "now", **manifest}, read_memory(folder))
