"""Runs: a recipe, or data alone, carried out from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import RecipeError
from pertharness.host.api.arguments import (
    RETRIED,
    as_path,
    as_texts,
    check_words,
    chosen_resources,
    open_store,
    output_folder,
    several,
)
from pertharness.host.api.inputs import INPUTS, is_dataset_name, name_data, own_params, split_file, write_data
from pertharness.host.api.progress import make_reporter
from pertharness.host.api.results import Run, load_run
from pertharness.host.run.prepare import prepare
from pertharness.host.run.quick import SPLITS
from pertharness.host.run.recipes import Choices, choose_recipe, run_name

if TYPE_CHECKING:
    from pertharness.host.api.inputs import Data
    from pertharness.host.splits import Split


def run(
    recipe: str | Path | Mapping[str, Any] | None = None, *,
    data: Data | Sequence[Data] | Mapping[str, Data] | None = None, tasks: str | Sequence[str] = (),
    split: str | Path | Split | None = None, demo: bool = False, seeds: str | int | Sequence[int] | None = None,
    models: str | Sequence[str] | None = None, scorers: str | Sequence[str] | None = None, calibrate: bool = False,
    name: str | None = None, store: str | Path | None = None, out: str | Path | None = None, build: bool = False,
    keep_models: bool = False, no_oracle: bool = False, retry: str | Sequence[str] = (), jobs: int | None = None,
    threads: int | None = None, timeout_s: float | None = None, memory_mb: float | None = None,
    device: str | None = None, isolation: str | None = None, progress: bool = True, **params: Any,
) -> Run:  # fmt: skip
    """Carry out a recipe, or every installed model on your data, and write the leaderboard to the run's folder.

    What is in the store already is not done again, so that a run that was stopped goes on where it stopped. Models run
    in processes of their own, isolated from the truth; nothing of a plugin is imported here. A job that fails is no
    exception: see `Run.failed`.

    Parameters
    ----------
    recipe
        Path of a recipe (TOML), the name of one that is installed, or its content as a dict. Without one, every model
        runs on `data`.
    data
        Paths, names of datasets on offer such as ``demo``, or AnnData; a dict gives them names. By default the demo.
    tasks
        Of ``double`` and ``single``; both by default.
    split
        Path of a split's JSON, or what `make_split` returned; by default splits are drawn.
    demo
        The demo data in place of those of the recipe.
    seeds
        Split seeds: a list, a number, or a text such as ``1-5``.
    models, scorers
        A list, or a text such as ``mean,linear[k=4]``; by default those of the recipe, or every installed one.
    calibrate
        Place models between the reference and half of the cells against the other half.
    name
        Name of the run; by default the recipe's, or the data's.
    store
        Folder of the records; by default ``PERTHARNESS_STORE``, else the user's data folder.
    out
        Folder of the run; by default ``runs/NAME``.
    build
        Build the environments that are missing, broken or outdated.
    keep_models
        Keep each fitted model in its record, if its plugin can save it; `predict` with ``model_record`` uses it again.
    no_oracle
        Skip models that are given observed values of held-out cells.
    retry
        States of records to make again: ``failed``, ``invalid``, ``timeout``, ``crashed``, ``skipped``.
    jobs
        Worker processes at a time; by default as many as there are cores.
    threads, timeout_s, memory_mb, device, isolation
        What each job may use: see the recipe's ``resources``.
    progress
        Show a bar in a notebook or on a terminal.
    **params
        How `data` are read, such as ``label_column="condition"``: see ``docs/screen.md``.

    Returns
    -------
    Run
        With the tables, predictions and records of the run.

    Raises
    ------
    RecipeError
        If the recipe or an argument cannot be carried out, with what was expected.
    DataError
        If an AnnData cannot be written.
    StoreError
        If the store cannot be used.

    Examples
    --------
    >>> import pertharness as ph
    >>> run = ph.run(data="screen.h5ad", control_label="non-targeting", seeds=1)  # doctest: +SKIP
    >>> run.leaderboard.query("stratum == 'all'")  # doctest: +SKIP
    """
    _check(recipe, data=data, tasks=tasks, split=split, demo=demo, seeds=seeds)
    if name is not None and not is_dataset_name(name):  # it becomes a folder, before a recipe is made of it
        raise RecipeError(f"name is {name!r}; expected letters, digits, '.', '_' and '-'")
    retried = check_words("retry", retry, RETRIED)
    named = name_data(data)
    usual = Path("runs") / (name or "-".join(named)[:80] or "demo")
    inputs = output_folder(out, usual) / INPUTS
    choices = Choices(
        data=write_data(named, inputs), tasks=check_words("tasks", tasks, SPLITS),
        split=None if split is None else split_file(split, inputs), params=params,
        own_params=own_params(named), demo=demo, name=name,
        seeds=several(seeds), models=as_texts("models", models),
        scorers=as_texts("scorers", scorers), calibrate=calibrate, keep_models=keep_models, no_oracle=no_oracle,
        resources=chosen_resources(
            jobs=jobs, threads=threads, timeout_s=timeout_s, memory_mb=memory_mb, device=device, isolation=isolation
        ),
    )  # fmt: skip
    chosen = choose_recipe(
        recipe if recipe is None or isinstance(recipe, Mapping) else as_path("recipe", recipe), choices
    )
    reporter = make_reporter(progress=progress)
    prepared = prepare(chosen, open_store(store), reporter, named=models is not None, build=build)
    folder = output_folder(out, Path("runs") / run_name(chosen))
    prepared.carry_out(folder, reporter, retry=retried, command=("pertharness.run",))
    return load_run(folder)


def _check(recipe: str | Path | Mapping[str, Any] | None, **arguments: Any) -> None:
    """Raise an error for arguments that contradict each other.

    Raises
    ------
    RecipeError
        With the arguments to leave out.
    """
    if recipe is not None and (arguments["data"] is not None or arguments["tasks"] or arguments["split"] is not None):
        raise RecipeError("a recipe names its own data, tasks and splits: leave out data, tasks and split")
    if recipe is not None and not isinstance(recipe, Mapping) and as_path("recipe", recipe).suffix == ".h5ad":
        raise RecipeError(f"a recipe is a TOML file; for a screen: pertharness.run(data={str(recipe)!r})")
    if recipe is None and arguments["demo"]:
        raise RecipeError("demo=True is for a recipe; without one the data are the demo unless data names others")
    if arguments["split"] is not None and arguments["seeds"] is not None:
        raise RecipeError("split names one split, which has no other seeds: leave out seeds")
