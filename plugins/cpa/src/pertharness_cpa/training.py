"""Upstream's calls: set up, construct, train, without effects on the rest of the process."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import DataError, Skip

from pertharness_cpa.layout import CONTROL_NAME, DOSE_KEY, HELD_OUT, PERTURBATION_KEY, SPLIT_KEY, TRAIN, VALID
from pertharness_cpa.settings import MAX_TARGETS, Settings

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Trained:
    """A trained model of upstream, and its number of each gene."""

    cpa: Any
    encoder: Mapping[str, int]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of upstream and messages of its trainer out of the log; errors are still raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def upstream_class() -> Any:
    """Return the class ``cpa.CPA`` without the state of an earlier data set.

    Upstream keeps the numbers of genes and covariates in attributes of the class. A second data set in the same process
    would get those of the first, and its new genes would silently count as no perturbation.
    """
    # cpa-tools 0.8.8 imports `tkinter.N` without using it, and many Pythons have no Tk.
    if importlib.util.find_spec("_tkinter") is None and "tkinter" not in sys.modules:
        stub: Any = types.ModuleType("tkinter")
        stub.N = "n"
        sys.modules["tkinter"] = stub
    with quiet():
        import cpa

    for attribute in ("pert_encoder", "covars_encoder", "pert_smiles_map"):
        setattr(cpa.CPA, attribute, None)
    return cpa.CPA


def train_cpa(adata: AnnData, settings: Settings, *, seed: int, device: str, folder: Path) -> Trained:
    """Train CPA.

    Parameters
    ----------
    adata
        As ``lay_out`` gives it; upstream writes into it.
    seed
        Upstream's constructor seeds torch, numpy and scvi with it, and nothing else draws before the end of training.
    folder
        Where upstream's trainer may write.

    Raises
    ------
    Skip
        If the device is a GPU that upstream's torch cannot compute on.
    DataError
        If no validation gave a number.
    """
    cpa = upstream_class()
    use_gpu = _gpu_of(device)
    with quiet(), _logging_to(folder):
        cpa.setup_anndata(
            adata, perturbation_key=PERTURBATION_KEY, control_group=CONTROL_NAME, dosage_key=DOSE_KEY,
            categorical_covariate_keys=[],  # a new list: upstream appends to its own default
            is_count_data=True, max_comb_len=MAX_TARGETS,
        )  # fmt: skip
        model = cpa(
            adata, split_key=SPLIT_KEY, train_split=TRAIN, valid_split=VALID, test_split=HELD_OUT, seed=seed,
            **settings.model.model_dump(),
        )  # fmt: skip
        model.train(
            use_gpu=use_gpu, plan_kwargs=settings.plan.model_dump(), save_path=False, enable_progress_bar=False,
            **settings.train.model_dump(),
        )  # fmt: skip
    check_trained(model)
    return Trained(model, dict(model.pert_encoder))


def check_trained(model: Any) -> None:
    """Refuse weights that were never validated, because they are the random start weights.

    After training, scvi-tools 0.20.3 puts back the weights with the best metric on the validation cells; where there
    are no such cells, or the metric was never a number, those are the ones from before the first step.
    """
    best = [
        callback.best_module_metric_val
        for callback in model.trainer.callbacks
        if hasattr(callback, "best_module_metric_val")
    ]
    if not best or best[0] == float("-inf"):
        raise DataError(
            "CPA's metric on the validation cells was never a number, so that it gives back the random weights that "
            "training began with; give it more training cells, or a larger validation_share"
        )


@contextlib.contextmanager
def _logging_to(folder: Path) -> Iterator[None]:
    """Make the trainer write below a folder; its default is the working directory."""
    from scvi import settings as scvi_settings

    before = scvi_settings.logging_dir
    scvi_settings.logging_dir = str(folder / "scvi_log")
    try:
        yield
    finally:
        scvi_settings.logging_dir = before


def _gpu_of(device: str) -> bool | int:
    """Return upstream's name of a device."""
    if not device.startswith("cuda"):
        return False
    import torch

    index = int(device.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise Skip(f"CPA was asked to train on {device!r}; torch {torch.__version__} sees no such GPU")
    major, minor = torch.cuda.get_device_capability(index)
    architectures = [int(name.removeprefix("sm_")) for name in torch.cuda.get_arch_list() if name.startswith("sm_")]
    if not any(10 * major <= arch <= 10 * major + minor for arch in architectures):
        raise Skip(
            f"CPA was asked to train on a GPU of compute capability {major}.{minor}; torch {torch.__version__}, which "
            f"it needs, computes on {', '.join(torch.cuda.get_arch_list())}: use --device cpu"
        )
    return index
