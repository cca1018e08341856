"""Predicting: the mean over drawn controls of what the network makes of them with the query's flags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pertharness import DataError, Skip, make_prediction, targets_of
from pertharness_foundation.device import Precision, autocast, first_size, in_batches, open_device
from torch import Tensor

from pertharness_scgpt.batches import gather, to_device
from pertharness_scgpt.data import Genes, read_cells, why_not
from pertharness_scgpt.fitted import Fitted
from pertharness_scgpt.network import Network
from pertharness_scgpt.precision import precision_on
from pertharness_scgpt.settings import Index0Flag

if TYPE_CHECKING:
    from anndata import AnnData


def predict_scgpt(fitted: Fitted, controls: AnnData, queries: Sequence[str], device: str, seed: int) -> AnnData:
    """Predict the queries; those that the network cannot be given are not answered.

    Controls are drawn for the queries in alphabetical order, so that the order in which they are asked changes nothing.
    """
    genes = fitted.genes
    if list(map(str, controls.var_names)) != list(genes.names):
        raise DataError("scgpt: the genes of the controls are not those that the model was trained on, in their order")
    positions = genes.positions()
    reasons = {query: why_not(targets_of(query), genes, positions) for query in queries}
    notes = list(fitted.notes)
    cells = read_cells(controls, genes, notes, "control")
    if not len(cells.labels):
        raise Skip("scGPT predicts from control cells, and all of them are empty")
    answered = sorted(query for query in queries if not reasons[query])
    targets = [[positions[target] for target in targets_of(query)] for query in answered]
    rows = predict_all(fitted, cells.expression, targets, device, seed)
    of_query = dict(zip(answered, rows, strict=True))
    means = {query: _in_columns(of_query[query], genes) for query in queries if query in of_query}
    unanswered = {query: reason for query, reason in reasons.items() if reason}
    return make_prediction(means, genes.names, unanswered, genes.missing, notes=notes)


def _in_columns(row: np.ndarray, genes: Genes) -> np.ndarray:
    """Return the values of the network's genes among those of the data; the others are NaN."""
    values = np.full(len(genes.names), np.nan)
    values[genes.columns] = row
    return values


def predict_all(fitted: Fitted, controls: Any, targets: Sequence[Sequence[int]], device: str, seed: int) -> np.ndarray:
    """Return the prediction of each of some perturbations, float64, shape (n_perturbations, n_genes).

    Parameters
    ----------
    controls
        CSR float32, shape (n_controls, n_genes of the network).
    targets
        Positions of the perturbed genes.
    """
    choices, predicting = fitted.settings.choices(), fitted.settings.predicting
    rng = np.random.RandomState(seed)
    generator = torch.Generator().manual_seed(seed)
    n_genes = len(fitted.genes.tokens)
    draws = draw_controls(len(targets), controls.shape[0], predicting.pool_size, rng)
    place = open_device(device)
    precision = precision_on(place, choices.precision)
    network = fitted.network.to(place).eval()
    tokens = to_device(fitted.genes.tokens, place)
    rows = []
    for drawn, positions in zip(draws, targets, strict=True):
        flags = flag_targets(positions, n_genes, choices.index0_flag)
        sequences = [np.arange(n_genes)]
        if choices.predict_sequence == "chunks":
            sequences = cut_genes(n_genes, fitted.settings.training.max_seq_len, positions, generator)
        values = gather(controls, drawn, np.arange(n_genes))
        predict = sequence_predictor(network, tokens, flags, place, precision)
        bytes_each = network.bytes_of_cell(max(map(len, sequences)))
        batch_size = first_size(place, bytes_each, most=predicting.eval_batch_size)
        rows.append(predict_mean(predict, values, sequences, batch_size))
    # Looked at when all are asked for: a GPU does not wait for the next perturbation.
    return np.array([row.cpu().numpy() for row in rows]).reshape(len(targets), n_genes)


def draw_controls(n_perturbations: int, n_controls: int, pool_size: int, rng: np.random.RandomState) -> np.ndarray:
    """Draw controls with replacement for each perturbation in turn, shape (n_perturbations, pool_size)."""
    return rng.randint(0, n_controls, (n_perturbations, pool_size))


def flag_targets(positions: Sequence[int], n_genes: int, index0_flag: Index0Flag) -> np.ndarray:
    """Return 1 at the perturbed genes and 0 elsewhere, int64, shape (n_genes,).

    The published code writes the sign of the position, so that a target that is the first gene is not flagged.
    """
    flags = np.zeros(n_genes, dtype=np.int64)
    for position in positions:
        flags[position] = np.sign(position) if index0_flag == "sign" else 1
    return flags


def cut_genes(n_genes: int, most: int, positions: Sequence[int], generator: torch.Generator) -> list[np.ndarray]:
    """Return random parts of the genes, of at most `most` and as many as are needed; the perturbed ones begin each."""
    if n_genes <= most:
        return [np.arange(n_genes)]
    wanted = np.unique(np.asarray(positions, dtype=np.int64))[: most - 1]
    drawn = torch.randperm(n_genes, generator=generator).numpy()
    others = drawn[~np.isin(drawn, wanted)]
    step = most - len(wanted)
    return [np.concatenate([wanted, others[start : start + step]]) for start in range(0, len(others), step)]


Predictor = Callable[[np.ndarray, np.ndarray], Tensor]
"""Returns the prediction for some cells, given values of some genes and which genes these are."""


def sequence_predictor(
    network: Network, tokens: Tensor, flags: np.ndarray, device: torch.device, precision: Precision
) -> Predictor:
    """Return a function of values, shape (n_cells, n_genes), and genes, which predicts these, float32, same shape.

    Parameters
    ----------
    tokens, flags
        Of all genes.
    """
    all_flags = to_device(flags, device)

    def predict(values: np.ndarray, genes: np.ndarray) -> Tensor:
        chosen = to_device(genes, device)
        with torch.inference_mode(), autocast(device, precision):
            predicted: Tensor = network(tokens[chosen], to_device(values, device), all_flags[chosen])
        return predicted.float()

    return predict


def predict_mean(predict: Predictor, values: np.ndarray, sequences: Sequence[np.ndarray], batch_size: int) -> Tensor:
    """Return the mean prediction over cells, float64, shape (n_genes,), on the device.

    Parameters
    ----------
    values
        Of all genes, shape (n_cells, n_genes).
    sequences
        Genes that are predicted together; a gene in several of them has the value of the first, and one in none is
        NaN.
    """
    n_cells, n_genes = values.shape
    is_done = np.zeros(n_genes, dtype=bool)
    parts, places = [], []
    for genes in sequences:
        sums = in_batches(n_cells, partial(_sum, predict, values[:, genes], genes), size=batch_size)
        new = np.flatnonzero(~is_done[genes])
        is_done[genes] = True
        total = torch.stack(list(sums)).sum(0)
        parts.append(total[to_device(new, total.device)] / n_cells)
        places.append(genes[new])
    result = torch.full((n_genes,), torch.nan, dtype=torch.float64, device=parts[0].device)
    result[to_device(np.concatenate(places), result.device)] = torch.cat(parts)
    return result


def _sum(predict: Predictor, values: np.ndarray, genes: np.ndarray, start: int, stop: int) -> Tensor:
    """Return the sum of the predictions for some of the cells, float64, shape (n_genes,)."""
    return predict(values[start:stop], genes).sum(0, dtype=torch.float64)
