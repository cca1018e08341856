"""Training: the calls of cell-gears 0.1.2 in their order, in the job's own folder."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness_gears.conditions import Plan, assemble, plan_conditions, upstream_name
from pertharness_gears.corrections import coexpression_of_all, redraw_controls, smooth_every_cell
from pertharness_gears.files import GENE2GO, PERT_GENES
from pertharness_gears.graph import Ontology, strongest
from pertharness_gears.settings import Settings
from pertharness_gears.upstream import guest, load_gears, seed_numpy, seed_torch

if TYPE_CHECKING:
    from anndata import AnnData

TRAIN_GENE_SET_SIZE = 0.75
"""Part of a file name of cell-gears, without other effect if the split is given."""


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes
    ----------
    gears
        The object of cell-gears.
    genes
        Genes that can be asked for.
    sampling
        ``upstream`` or ``all``: the control cells that a prediction starts from.
    notes
        What a reader of the results should know of the training.
    """

    gears: Any
    genes: frozenset[str]
    sampling: str
    notes: list[str]


def fit_gears(
    train: AnnData, val: AnnData | None, ontology: Ontology, settings: Settings, device: str, seed: int, workdir: Path
) -> Fitted:
    """Train GEARS on cells of log1p CP10k, and keep the best epoch on the validation data.

    With ``procedure="paper"`` the random numbers are drawn as in a plain script that seeds numpy before
    ``new_data_process`` and torch before ``GEARS``.

    Raises
    ------
    Skip
        If cell-gears is not installed, or too few perturbations have their genes in the GO graph.
    """
    own = settings.own
    plan = plan_conditions(train, val, frozenset(ontology.genes), own.batch_size, seed)
    for label, reason in plan.left_out.items():
        print(f"gears: {label} is left out of the training: {reason}", file=sys.stderr)
    load_gears()
    corrected = own.procedure == "corrected"
    with guest():
        data = _pert_data(assemble(train, val, plan), plan, ontology, own.batch_size, seed, workdir / "gears")
        if corrected:
            redraw_controls(data, own.batch_size, seed)
        gears = _model(data, ontology, settings, device, seed)
        if corrected:
            smooth_every_cell(gears)
        gears.train(**settings.optimiser.model_dump())
    return Fitted(gears, frozenset(ontology.genes), settings.sampling, [*ontology.notes, *plan.notes])


def _pert_data(adata: AnnData, plan: Plan, ontology: Ontology, batch_size: int, seed: int, folder: Path) -> Any:
    """Pass cell-gears its files and cells, and the split as attributes instead of by ``prepare_split``."""
    from gears import PertData

    folder.mkdir()
    for file, content in ((GENE2GO, {g: set(t) for g, t in ontology.terms.items()}), (PERT_GENES, ontology.genes)):
        (folder / file.wanted).write_bytes(pickle.dumps(content))
    seed_numpy(seed)
    data = PertData(str(folder))
    data.new_data_process(dataset_name="task", adata=adata)
    data.load(data_path=str(folder / "task"))
    data.set2conditions = {
        "train": [upstream_name(label) for label in plan.train], "val": [upstream_name(label) for label in plan.val],
    }  # fmt: skip
    data.split, data.subgroup, data.seed, data.train_gene_set_size = "no_test", None, seed, TRAIN_GENE_SET_SIZE
    data.get_dataloader(batch_size=batch_size)
    return data


def _model(data: Any, ontology: Ontology, settings: Settings, device: str, seed: int) -> Any:
    """Return the untrained model, with the strongest edges of each gene (itself included) as its GO graph."""
    from gears import GEARS
    from gears.utils import GeneSimNetwork

    edges = strongest(ontology.edges, settings.network.num_similar_genes_go_graph + 1)
    network = GeneSimNetwork(edges, list(data.pert_names), node_map=data.node_map_pert)
    graphs = {"G_go": network.edge_index, "G_go_weight": network.edge_weight}
    if settings.own.procedure == "corrected":
        graphs.update(coexpression_of_all(data, settings.network))
    seed_torch(seed)
    gears = GEARS(data, device=device)
    gears.model_initialize(**settings.network.model_dump(), **graphs)
    return gears
