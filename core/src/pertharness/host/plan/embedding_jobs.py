"""The jobs that fill a model's slots, such as ``G=embed:scgpt`` and ``P=transfer:other_screen``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pertharness.contract.cards import EmbeddingOffer, ModelOffer
from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import REFERENCE
from pertharness.contract.options import EmbeddingOptions
from pertharness.contract.stages import PSEUDOBULK, SPLIT, TRAIN
from pertharness.files.whole import canonical_json
from pertharness.host.plan.data_jobs import plan_split
from pertharness.host.plan.needed_files import files_of_params, gpu_memory, missing_here, plan_files
from pertharness.host.plan.planner import Planner, find_offer, with_defaults
from pertharness.host.plugins.registry import Offered, Registry, look_up
from pertharness.host.plugins.weights import has_other_weights
from pertharness.host.recipe import EmbeddingSpec, ModelSpec
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.text.did_you_mean import close_to, expected


def find_embedding(registry: Registry, spec: EmbeddingSpec) -> Offered[EmbeddingOffer] | None:
    """Return the installed embedding that a choice means, or None."""
    return look_up(registry.embeddings, spec.full_name)


def not_installed(registry: Registry, spec: ModelSpec, hint: Callable[[str, Iterable[str]], str]) -> str:
    """Return the name of an embedding of a model that no plugin offers, with a `hint`; empty if there is none."""
    missing = [made for made in spec.embeddings if find_embedding(registry, made) is None]
    if not missing:
        return ""
    return "; ".join(filter(None, (f"embedding {missing[0].full_name!r}", hint(missing[0].name, registry.embeddings))))


def why_not(planner: Planner, task: Task, spec: ModelSpec) -> str:
    """Return why a task cannot be done with a model's embeddings, or nothing.

    Where the other screen is the task's own, its means would be those of the perturbations to predict; the same model
    can still be of use for the recipe's other screens.
    """
    if absent := not_installed(planner.registry, spec, close_to):
        return f"not installed: {absent}"
    for made in spec.slots.values():
        if _offer_of(planner, made).takes_reference and _is_same_screen(planner, made.argument, str(task.dataset)):
            return f"{made.shown().text()!r} is the task's own screen, with the perturbations to be predicted"
    return ""


def _is_same_screen(planner: Planner, name: str, other: str) -> bool:
    """Return whether two datasets are loaded from the same content in the same way, whatever their names."""
    datasets = planner.plan.datasets
    if name == other or name not in datasets:
        return name == other
    jobs = [planner.plan.nodes[datasets[each]].job for each in (name, other)]
    if len({(job.plugin.name, job.name, canonical_json(job.params)) for job in jobs}) > 1:
        return False
    files = [job.inputs.get("source") for job in jobs]
    if None in files or len({path.stat().st_size for path in files if path}) > 1:
        return files == [None, None]
    return len({planner.hash_of(path) for path in files if path}) == 1


def by_chance(registry: Registry, offer: ModelOffer, spec: ModelSpec) -> bool:
    """Return whether the training seed changes the predictions of a model with these embeddings."""
    embeddings = [find_embedding(registry, made) for made in spec.slots.values()]
    return not (offer.deterministic and all(each is None or each.offer.deterministic for each in embeddings))


def shown_slots(registry: Registry, spec: ModelSpec) -> dict[str, EmbeddingSpec]:
    """Return a model's slots as the leaderboard shows them: files by name, parameters that are not defaults."""
    shown = {}
    for slot, made in spec.slots.items():
        offered = find_embedding(registry, made)
        defaults = offered.offer.params.items() if offered else ()
        changed = {name: value for name, value in made.params.items() if (name, value) not in defaults}
        changed = shown_files(offered.offer, changed) if offered else changed
        shown[slot] = replace(made.shown(), params=changed)
    return shown


def shown_files(offer: ModelOffer | EmbeddingOffer, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as the leaderboard shows them: files by name alone, as their content is in the record."""
    return {
        name: Path(str(value)).name if value and name in offer.file_params else value for name, value in params.items()
    }


def with_other_weights(registry: Registry, offer: ModelOffer, spec: ModelSpec) -> bool:
    """Return whether a model, or an embedding in one of its slots, has other weights than the published ones."""
    embeddings = [(find_embedding(registry, made), made.params) for made in spec.slots.values()]
    return has_other_weights(offer, spec.params) or any(
        each is not None and has_other_weights(each.offer, params) for each, params in embeddings
    )


def plan_embeddings(
    planner: Planner, task: Task, split_seed: int, spec: ModelSpec, offer: ModelOffer, training_seed: int,
    queries: Sequence[str] = (),
) -> dict[str, str]:  # fmt: skip
    """Add the jobs that make a model's embeddings and return their keys by slot.

    They have rows for the targets of the split, and of `queries` that are in no part of it.

    Raises
    ------
    RecipeError
        If the model has no such slot, or the embedding is of another kind or takes another file, dataset or parameter.
    """
    keys = {}
    for slot, made in spec.slots.items():
        if slot not in offer.slots:
            raise RecipeError(f"{spec.text()!r}: {offer.name!r} has no slot {slot!r}; {expected(slot, offer.slots)}")
        kind = offer.slots[slot]
        if kind not in _offer_of(planner, made).kinds:
            raise RecipeError(
                f"{spec.text()!r}: {made.name!r} makes no {kind} embedding, which the slot {slot!r} needs"
            )
        options = EmbeddingOptions(kind=kind)
        if queries and kind == "perturbation":
            options = EmbeddingOptions(kind=kind, queries=tuple(queries))
        keys[slot] = _plan_embedding(planner, task, split_seed, slot, made, options, training_seed)
    return keys


def _plan_embedding(
    planner: Planner, task: Task, split_seed: int, slot: str, made: EmbeddingSpec, options: EmbeddingOptions,
    training_seed: int,
) -> str:  # fmt: skip
    """Add the job that makes an embedding, and return its key; it gets means, whatever the model gets.

    Its title names the first `slot` that it fills; other models may have it in another of the same kind.
    """
    offered = find_offer(planner.registry.embeddings, made.full_name, "embedding")
    offer: EmbeddingOffer = offered.offer
    shown = made.shown().text()
    split = plan_split(planner, task, split_seed, "pseudobulk")
    params = with_defaults(offer, made.params, shown)
    weights = plan_files(planner, offered, str(task.dataset), params)
    inputs = [
        planner.from_record("split", "splits", split, SPLIT),
        planner.from_record("train", "splits", split, TRAIN, key_role="split"),
    ]
    if offer.takes_reference:
        dataset = planner.plan.datasets[_dataset_of(planner, made)]
        role = REFERENCE + made.argument
        inputs.append(planner.from_record(role, "datasets", dataset, PSEUDOBULK, key_role="reference"))
    elif made.argument and not offer.takes_file:
        raise RecipeError(f"{shown!r}: {made.name!r} takes no file and no dataset; write {made.name!r}")
    if offer.takes_file:
        inputs.append(planner.from_file("source", _file_of(made)))
    inputs += [*files_of_params(planner, offer, params, shown), *weights.inputs()]
    return planner.add_job(
        "embeddings", offered.plugin, inputs, name=offer.name, params=params,
        options=options.written(),
        seed=planner.recipe.training_seeds[0] if offer.deterministic else training_seed,
        title=f"embedding {slot}={shown} on {task.dataset} {task.name} seed {split_seed}",
        cheap=offer.cheap, preload=offer.preload, prepare=weights.prepare,
        preflight=lambda: missing_here(planner, offer.needs, weights), gpu_gb=gpu_memory(planner, offer),
    )  # fmt: skip


def _offer_of(planner: Planner, made: EmbeddingSpec) -> EmbeddingOffer:
    """Return the embedding's offer."""
    offer: EmbeddingOffer = find_offer(planner.registry.embeddings, made.full_name, "embedding").offer
    return offer


def _file_of(made: EmbeddingSpec) -> Path:
    """Return the file that an embedding is made of."""
    path = Path(made.argument)
    if not made.argument:
        raise RecipeError(f"{made.text()!r}: {made.name!r} is made of a file; expected {made.name}:FILE")
    if not path.is_file():
        advice = "it is a folder" if path.is_dir() else "expected the file that the embedding is made of"
        raise RecipeError(f"{made.shown().text()!r}: there is no file {str(path)!r}; {advice}")
    return path.absolute()


def _dataset_of(planner: Planner, made: EmbeddingSpec) -> str:
    """Return the name of the other screen that an embedding is made of."""
    if made.argument in planner.plan.datasets:
        return made.argument
    argument = made.shown().argument
    problem = (
        f"there is no dataset {argument!r} in this recipe" if argument else f"{made.name!r} is made of another screen"
    )
    raise RecipeError(f"{made.shown().text()!r}: {problem}; {expected(argument, planner.plan.datasets)}")
