"""The hooks of a plugin: all that the harness ever asks of one.

A plugin is a module, named by an entry point of the group ``pertharness``; its functions are marked with
``pertharness.hookimpl``. Each takes those of the arguments below that it needs, by name. ``name`` is the offer that is
asked for, one of those that ``describe`` lists; a plugin with several offers looks it up in a dict of functions.
A worker registers exactly one plugin, so which one answers is never in question.
Any hook may raise ``pertharness.Skip("reason")``. None may change what it is given, nor keep anything in a module:
data, tables, lists and parameters are compared after the call, and a change makes the record invalid.

Arguments
---------
name
    name of the requested offer of the plugin
source
    file that the offer or the recipe named, fetched and checked; None if there is none
file
    name of the side file, as on the card
path
    where to write it
files
    weights and side files of the card, fetched and checked: name -> path; an optional one may be absent
params
    parameters of the offer: its defaults, and what the recipe set
kind
    `"gene"` or `"perturbation"`: what the rows are
train
    AnnData of the training perturbations and the controls. For `embed` and `score` means, for `fit` as the card's
    `input` says: cells, or one mean per perturbation
val
    AnnData like `train` with the validation perturbations; None unless the card says `uses_validation`, and where a
    split has none
references
    other datasets, whole: name -> AnnData
labels
    what to embed: gene symbols, or the targets of the task and `control`, which needs no row
device
    `cpu`, `cuda`, `cuda:1`
seed
    training seed; draw from a generator made of it alone
workdir
    the one folder to write to; it is the working directory, and goes away with the job
task
    names of dataset and task, kind and seed of the split, scale, modality, context (`pertharness.Task`)
embeddings
    slot of the card -> DataFrame, a row per label
model
    what `fit` gave, or `load_model`
folder
    of `save_model`: an empty folder for the files of the model; of `load_model`: a folder with those files alone
controls
    AnnData of the controls of the training side; for `score` their mean
queries
    the perturbations to predict: labels only, `KLF1` or `CEBPE+KLF1`
oracle
    None; kept for models that are fed observed values
truth
    AnnData of means, a row per query
prediction
    AnnData of means, a row per answered query, the same genes as `truth`
screen
    AnnData of the means of all perturbations of the dataset, held-out ones too, in its order
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
    """Return the card: what the plugin offers. Called often; import nothing heavy for it."""


@hookspec(firstresult=True)
def load_dataset(name: str, source: Path | None, params: Mapping[str, Any]) -> AnnData | Streamed:
    """Return a dataset in the canonical form (see ``pertharness.data.canonical``).

    ``source`` is the file that the offer or the user named, already fetched and checked; None if there is none.
    What may not fit into memory is given as ``pertharness.data.canonical.open_stored`` gives it.
    """


@hookspec(firstresult=True)
def make_side_file(name: str, file: str, params: Mapping[str, Any], path: Path) -> None:
    """Write a side file of a dataset that the card declares without an address: a CSV, to ``path``.

    It is made of the parameters of the dataset alone: models read it, so it must tell nothing of held-out cells.
    """


@hookspec(firstresult=True)
def embed(
    name: str, kind: str, source: Path | None, train: AnnData, references: Mapping[str, AnnData], labels: list[str],
    files: Mapping[str, Path], params: Mapping[str, Any], device: str, seed: int, workdir: Path,
) -> pd.DataFrame:  # fmt: skip
    """Return an embedding: one row per label that has one, indexed by label, numeric columns.

    ``kind`` is ``"gene"`` or ``"perturbation"``. A label without an embedding is left out. ``source`` is the file, and
    ``references`` the dataset, that the recipe names, if the card says that the embedding takes one. ``files`` holds
    the weights and side files of the card, name -> path; all are there but those that the card calls optional. Those
    in ``side_files`` of the card are there where the dataset brings them, also in place of a file of the same name.
    """


@hookspec(firstresult=True)
def fit(
    name: str, train: AnnData, val: AnnData | None, task: Task, embeddings: Mapping[str, pd.DataFrame],
    references: Mapping[str, AnnData], files: Mapping[str, Path], params: Mapping[str, Any], device: str, seed: int,
    workdir: Path,
) -> object:  # fmt: skip
    """Return a fitted model: any object, handed to ``predict`` in the same process.

    ``train`` holds the training perturbations and the controls, as cells or as one row per perturbation, whichever the
    card asks for. ``val`` is None unless the card says ``uses_validation``. ``files`` is as for
    ``embed``.
    """


@hookspec(firstresult=True)
def predict(
    name: str, model: object, controls: AnnData, queries: list[str], oracle: AnnData | None, task: Task,
    device: str, seed: int, workdir: Path,
) -> AnnData:  # fmt: skip
    """Return the predicted mean expression of the queries, best with ``pertharness.make_prediction``.

    Rows: the answered queries, named in ``obs["perturbation"]``; columns: the genes of ``controls``, in their order;
    ``X`` float64, log1p of counts per 10 000: values a little below 0 are counted in a note, one that is further from 0
    than the logarithm of 10 001 makes the record invalid. ``uns["unanswered"]``: query -> why it was not answered. A
    gene that the model cannot predict is a column of NaN, with the reason in ``uns["missing_genes"]``: gene -> reason.
    ``uns["notes"]``: a list of lines for the record and whoever runs it.
    """


@hookspec(firstresult=True)
def save_model(name: str, model: object, folder: Path) -> None:
    """Write a fitted model to files in ``folder``, so that ``pertharness predict`` can use it again. Optional.

    Any files and folders, in formats that run no code when they are read: JSON, CSV, ``.npy`` and ``.npz`` without
    objects, h5ad, safetensors; no pickle, no links. They must hold all that `load_model` needs besides the weights and
    side files of the card: parameters, names of genes, embeddings. A plugin has both hooks or neither.
    """


@hookspec(firstresult=True)
def load_model(name: str, folder: Path, files: Mapping[str, Path], device: str) -> object:
    """Return the model that ``save_model`` wrote to ``folder``: it predicts what the fitted one does. Optional.

    It is called in another process, in another folder and without the data that the model was fitted on. ``files`` is
    as for ``fit``.
    """


@hookspec(firstresult=True)
def score(
    name: str, truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData,
    screen: AnnData, references: Mapping[str, AnnData], task: Task, params: Mapping[str, Any], seed: int,
) -> pd.DataFrame | Scores:  # fmt: skip
    """Return scores in long form: perturbation, gene, metric, variant, coordinate, value.

    ``truth`` and ``prediction`` have the same genes; ``truth`` has a row for each query, ``prediction`` for each
    answered one. ``controls`` and ``train`` are means of the training side; ``screen`` the means of all perturbations
    of the dataset, in its order, for what is asked of the observations alone. An undefined score is NaN, no number.
    """
