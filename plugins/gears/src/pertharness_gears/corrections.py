"""The procedure ``corrected``: corrections where cell-gears 0.1.2 differs from its description.

Each function undoes one peculiarity; ``README.md`` lists them with what is left as it is.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np

from pertharness_gears.settings import Network


def smooth_every_cell(gears: Any) -> None:
    """Make the co-expression graph smooth the gene embeddings of all cells of a batch.

    cell-gears repeats the genes for every cell and does not repeat the edges, so that only the first cell's genes have
    neighbours. These embeddings do not depend on the cell: what the first has, all have.
    """
    n_genes = gears.num_genes

    def repeat_first(module: Any, inputs: Any, smoothed: Any) -> Any:
        return smoothed[:n_genes].repeat(len(smoothed) // n_genes, 1)

    for layer in gears.model.layers_emb_pos:
        layer.register_forward_hook(repeat_first)


def coexpression_of_all(data: Any, network: Network) -> dict[str, Any]:
    """Return the co-expression graph over all training cells, as arguments of ``model_initialize``.

    cell-gears leaves the doubles out: it takes the conditions whose names hold "ctrl".
    """
    from gears.utils import GeneSimNetwork, get_similarity_network

    cells = data.adata[data.adata.obs["condition"].isin(data.set2conditions["train"]).to_numpy()].copy()
    cells.obs = cells.obs[[]].assign(condition="ctrl")
    # The network is cached in a file, whose name would be that of the uncorrected one.
    Path(data.data_path, "all").mkdir()
    edges = get_similarity_network(
        "co-express", cells, network.coexpress_threshold, network.num_similar_genes_co_express_graph,
        data.data_path, "all", data.split, data.seed, data.train_gene_set_size, {"train": ["ctrl"]},
    )  # fmt: skip
    graph = GeneSimNetwork(edges, list(data.gene_names), node_map=data.node_map)
    return {"G_coexpress": graph.edge_index, "G_coexpress_weight": graph.edge_weight}


def redraw_controls(data: Any, batch_size: int, seed: int) -> None:
    """Pair each perturbed training cell with a new random control each time it is used.

    cell-gears draws one control for each cell, once. The pairs of the validation data stay, so that epochs are compared
    on the same pairs.
    """
    import torch
    from torch_geometric.loader import DataLoader

    controls = torch.tensor(data.ctrl_adata.X.toarray())
    rng = np.random.default_rng(seed)

    class Redrawn(torch.utils.data.Dataset):  # type: ignore[misc]
        """The cells of a loader, each with a control that is drawn when the cell is used."""

        def __init__(self, cells: list[Any]) -> None:
            self.cells = cells

        def __len__(self) -> int:
            return len(self.cells)

        def __getitem__(self, i: int) -> Any:
            cell = self.cells[i]
            if cell.pert == "ctrl":
                return cell
            cell = copy.copy(cell)
            cell.x = controls[int(rng.integers(len(controls)))][:, None]
            return cell

    cells = data.dataloader["train_loader"].dataset
    data.dataloader["train_loader"] = DataLoader(Redrawn(cells), batch_size=batch_size, shuffle=True, drop_last=True)
