"""Needs of models and embeddings besides data: weights, side files and hardware."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pertharness.contract.cards import DatasetOffer, EmbeddingOffer, ModelOffer, Needs
from pertharness.contract.errors import FetchError, RecipeError
from pertharness.contract.jobs import WEIGHTS
from pertharness.contract.options import SideFileOptions
from pertharness.host.execution.hardware import missing_hardware, needs_gpu
from pertharness.host.fetch import default_folder
from pertharness.host.plan.inputs import Input
from pertharness.host.plan.planner import Planner, find_offer
from pertharness.host.plugins.registry import Offered
from pertharness.host.plugins.weights import Found, declared_by, examine, replaced_weights


@dataclass(frozen=True)
class OfferFiles:
    """The declared files of an offer, in their present state.

    Attributes
    ----------
    lacks
        Why the job cannot run without further files; None if it can.
    prepare
        Raises `FetchError` if a file is damaged.
    made
        Side files that the dataset's plugin makes in jobs of their own.
    """

    files: tuple[Found, ...]
    lacks: str | None = None
    prepare: Callable[[Path], None] | None = None
    made: tuple[Input, ...] = ()

    def inputs(self) -> list[Input]:
        """Return the files as inputs of a job; a file that is missing or damaged enters the key, and has no path."""
        return [
            Input(
                WEIGHTS + each.declared.file.wanted, None, each.path if each.condition == "available" else None,
                each.identity(),
            )
            for each in self.files
        ] + list(self.made)  # fmt: skip


def plan_files(
    planner: Planner, offered: Offered[ModelOffer] | Offered[EmbeddingOffer], dataset: str, params: Mapping[str, Any]
) -> OfferFiles:
    """Return the files of an offer on a dataset, examined once per plan.

    If the cards of the offer and of the dataset declare a file of the same name, it is the dataset's file. Weights that
    a parameter replaces by a file of the user are left out.
    """
    replaced = replaced_weights(offered.offer, params)
    memory_key = (offered.plugin.ref.name, type(offered.offer).__name__, offered.offer.name, dataset, *sorted(replaced))
    if memory_key not in planner.offer_files:
        source = find_offer(planner.registry.datasets, planner.recipe.datasets[dataset].offer, "dataset")
        taken = [file for file in source.offer.side_files if file.name in offered.offer.side_files]
        names = {file.name for file in taken}
        declared = [file for file in declared_by(planner.registry, offered) if file.file.wanted not in names | replaced]
        declared += [file for file in declared_by(planner.registry, source) if file.file.wanted in names]
        folder = default_folder() if declared else planner.store.root
        files = _judge([examine(each, folder, planner.store.root) for each in declared])
        made = tuple(_plan_side_file(planner, source, dataset, file.name) for file in taken if file.source is None)
        planner.offer_files[memory_key] = replace(files, made=made)
    offer_files: OfferFiles = planner.offer_files[memory_key]
    return offer_files


def _plan_side_file(planner: Planner, source: Offered[DatasetOffer], dataset: str, name: str) -> Input:
    """Add the job in which the dataset's plugin makes a side file, from the dataset's parameters alone."""
    params = planner.plan.nodes[planner.plan.datasets[dataset]].job.params
    key = planner.add_job(
        "side_files", source.plugin, [], title=f"side file {name} of {dataset}", name=source.offer.name, params=params,
        options=SideFileOptions(file=name).written(), cheap=source.offer.cheap,
    )  # fmt: skip
    return planner.from_record(WEIGHTS + name, "side_files", key, name)


def _judge(files: list[Found]) -> OfferFiles:
    taken = tuple(each for each in files if each.condition != "missing" or not each.declared.file.optional)
    missing = [each.reason for each in taken if each.condition == "missing"]
    damaged = [each.reason for each in taken if each.condition == "damaged"]
    return OfferFiles(taken, "; ".join(missing) or None, _refusal("\n".join(damaged)) if damaged else None)


def _refusal(problem: str) -> Callable[[Path], None]:
    def refuse(_: Path) -> None:
        raise FetchError(problem)

    return refuse


def files_of_params(
    planner: Planner, offer: ModelOffer | EmbeddingOffer, params: Mapping[str, Any], where: str
) -> list[Input]:
    """Return the files that parameters name, as inputs of a job: it may read these and no other files.

    Raises
    ------
    RecipeError
        If a file does not exist, or its path is not absolute: a job runs in a folder of its own.
    """
    inputs = []
    for name in offer.file_params:
        path = Path(str(params[name])) if params.get(name) else None
        if path is None:
            continue
        if not path.is_absolute() or not path.is_file():
            problem = "is not an absolute path" if not path.is_absolute() else "does not exist, or is not a file"
            raise RecipeError(
                f"{where}: {name} is {str(path)!r}, which {problem}; expected the absolute path of a file"
            )
        inputs.append(planner.from_file(f"file {name}", path))
    return inputs


def missing_here(planner: Planner, needs: Needs, files: OfferFiles) -> str | None:
    """Return everything that an offer lacks on this machine, or None."""
    hardware = missing_hardware(needs, planner.recipe.resources.device, planner.machine)
    return "; ".join(reason for reason in (hardware, files.lacks) if reason) or None


def gpu_memory(planner: Planner, offer: ModelOffer | EmbeddingOffer) -> float | None:
    """Return the GPU memory in GB that a job asks for, or None if it needs no GPU of its own.

    On ``cuda`` every job gets a GPU of its own, except those that take seconds and do not need one, such as baselines:
    they would wait for hours behind a model that trains.
    """
    on_gpu = planner.recipe.resources.device.startswith("cuda") and (needs_gpu(offer.needs) or not offer.cheap)
    return offer.needs.gpu_memory_gb if on_gpu else None
