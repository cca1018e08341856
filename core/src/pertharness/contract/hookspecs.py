"""The hooks of a plugin, through which the harness calls it.

A plugin is a module, named by an entry point of the group ``pertharness``. Its hooks are functions marked with
``pertharness.hookimpl``. Each takes only the arguments that it needs, by name. ``name`` is the requested offer, one of
those that ``describe`` lists; a plugin with several offers looks it up in a dict of functions. A worker registers
exactly one plugin, so only that plugin can answer.
Any hook may raise ``pertharness.Skip("reason")``. A hook must not change its arguments or keep state in a module: data,
tables, lists and parameters are compared after the call, and a change makes the record invalid.

Arguments
---------
name
    name of the requested offer of the plugin
source
    file that the offer or the recipe named, fetched and checked; None if there is none
file
    name of the side file, as on the card
path
    path to write the side file to
files
    weights and side files of the card, fetched and checked: name -> path; an optional one may be absent
params
    parameters of the offer: its defaults, and what the recipe set
kind
    kind of the rows: `"gene"` or `"perturbation"`
train
    AnnData of the training perturbations and the controls: means for `embed` and `score`; for `fit` cells or one mean
    per perturbation, by the card's `input`
val
    AnnData like `train` with the validation perturbations; None unless the card says `uses_validation`, or if the
    split has none
references
    other datasets, whole: name -> AnnData
labels
    labels to embed: gene symbols, or the targets of the task and `control`, which needs no row
device
    `cpu`, `cuda`, `cuda:1`
seed
    training seed; draw random numbers only from a generator made from it
workdir
    the only folder to write to; it is the working directory, and is removed after the job. If an earlier attempt of the
    same job was killed or ran out of time, the folder holds what that attempt left there
task
    names of dataset and task, kind and seed of the split, scale, modality, context (`pertharness.Task`)
embeddings
    slot of the card -> DataFrame, a row per label
model
    the result of `fit` or `load_model`
folder
    for `save_model`, an empty folder for the files of the model; for `load_model`, a folder with only those files
controls
    AnnData of the controls of the training side; for `score` their mean
queries
    the perturbations to predict: labels only, `KLF1` or `CEBPE+KLF1`
oracle
    None, unless the card says `oracle`: then observed values of the held-out cells' target genes, an AnnData with a row
    per cell of the queries (see `pertharness.data.oracle.observe_targets`)
truth
    AnnData of means, a row per query
prediction
    AnnData of means, a row per answered query, the same genes as `truth`
screen
    AnnData of the means of all perturbations of the dataset, including held-out ones, in its order
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from pertharness.contract.protocol import PROJECT

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.contract.cards import Card
    from pertharness.contract.jobs import Task
    from pertharness.contract.scores import Scores
    from pertharness.contract.streamed import Streamed

hookimpl = pluggy.HookimplMarker(PROJECT)
hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec(firstresult=True)
def describe() -> Card:  # type: ignore[empty-body]
    """Return the card of the plugin. This is called often, so do not import heavy packages for it."""


@hookspec(firstresult=True)
def load_dataset(name: str, source: Path | None, params: Mapping[str, Any]) -> AnnData | Streamed:
    """Return a dataset in the canonical form (see ``pertharness.data.canonical``).

    ``source`` is the file that the offer or the user named, already fetched and checked; None if there is none.
    Return data that may not fit into memory as ``pertharness.data.canonical.open_stored`` opens them.
    """


@hookspec(firstresult=True)
def make_side_file(name: str, file: str, params: Mapping[str, Any], path: Path) -> None:
    """Write a side file of a dataset that the card declares without an address: a CSV, to ``path``.

    Make it only from the parameters of the dataset: models read it, so it must not reveal held-out cells.
    """


@hookspec(firstresult=True)
def embed(
    name: str, kind: str, source: Path | None, train: AnnData, references: Mapping[str, AnnData], labels: list[str],
    files: Mapping[str, Path], params: Mapping[str, Any], device: str, seed: int, workdir: Path,
) -> pd.DataFrame:  # fmt: skip
    """Return an embedding: one row per label that has one, indexed by label, numeric columns.

    ``kind`` is ``"gene"`` or ``"perturbation"``. A label without an embedding is left out. ``source`` is the file, and
    ``references`` the dataset, that the recipe names, if the card says that the embedding takes one. ``files`` holds
    the weights and side files of the card, name -> path; only optional ones may be missing. It also holds the files in
    ``side_files`` of the card that the dataset has; these replace weights of the same name.
    """


@hookspec(firstresult=True)
def fit(
    name: str, train: AnnData, val: AnnData | None, task: Task, embeddings: Mapping[str, pd.DataFrame],
    references: Mapping[str, AnnData], files: Mapping[str, Path], params: Mapping[str, Any], device: str, seed: int,
    workdir: Path,
) -> object:  # fmt: skip
    """Return a fitted model: any object, which is passed to ``predict`` in the same process.

    ``train`` holds the training perturbations and the controls, as cells or as one row per perturbation, depending on
    the card. ``val`` is None unless the card says ``uses_validation``. ``files`` is as for ``embed``.
    """


@hookspec(firstresult=True)
def predict(
    name: str, model: object, controls: AnnData, queries: list[str], oracle: AnnData | None, task: Task,
    device: str, seed: int, workdir: Path,
) -> AnnData:  # fmt: skip
    """Return the predicted mean expression of the queries, best with ``pertharness.make_prediction``.

    Rows: the answered queries, named in ``obs["perturbation"]``; columns: the genes of ``controls``, in their order;
    ``X`` float64, log1p of counts per 10 000. Values a little below 0 are counted in a note; a value farther from 0
    than the logarithm of 10 001 makes the record invalid. ``uns["unanswered"]``: query -> reason why it was not
    answered. A gene that the model cannot predict is a column of NaN, with the reason in ``uns["missing_genes"]``:
    gene -> reason. ``uns["notes"]``: a list of lines for the record and the user.
    """


@hookspec(firstresult=True)
def save_model(name: str, model: object, folder: Path) -> None:
    """Write a fitted model to files in ``folder``, so that ``pertharness predict`` can use it again. Optional.

    Use only formats that run no code when they are read: JSON, CSV, ``.npy`` and ``.npz`` without objects, h5ad,
    safetensors; no pickle, no links. The files must hold everything that `load_model` needs besides the weights and
    side files of the card: parameters, names of genes, embeddings. A plugin has both hooks or neither.
    """


@hookspec(firstresult=True)
def load_model(name: str, folder: Path, files: Mapping[str, Path], device: str) -> object:
    """Return the model that ``save_model`` wrote to ``folder``; it must predict the same as the fitted one. Optional.

    The hook is called in another process, in another folder, and without the data that the model was fitted to.
    ``files`` is as for ``fit``.
    """


@hookspec(firstresult=True)
def score(
    name: str, truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData,
    screen: AnnData, references: Mapping[str, AnnData], task: Task, params: Mapping[str, Any], seed: int,
) -> pd.DataFrame | Scores:  # fmt: skip
    """Return scores in long form: perturbation, gene, metric, variant, coordinate, value.

    ``truth`` and ``prediction`` have the same genes; ``truth`` has a row for each query, ``prediction`` for each
    answered one. ``controls`` and ``train`` are means of the training side. ``screen`` has the means of all
    perturbations of the dataset, in its order, for results on the observations alone. An undefined score is NaN.
    """
