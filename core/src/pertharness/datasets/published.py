"""Four published screens, from files by their authors or by GEARS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.cards import DatasetOffer, RemoteFile
from pertharness.contract.errors import DataError
from pertharness.data.canonical import open_stored
from pertharness.datasets.h5ad import canonical_dataset
from pertharness.datasets.options import NONE, FileOptions, check_options

if TYPE_CHECKING:
    from pertharness.data.stored import Stored

_DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile"
_GEARS_MEMBER = "perturb_processed.h5ad"


def _gears(name: str, summary: str, reference: str, datafile: int) -> DatasetOffer:
    """Return the offer of a CRISPRi screen that GEARS provides as a zip file."""
    source = RemoteFile(url=f"{_DATAVERSE}/{datafile}", filename=f"{name}.zip", member=_GEARS_MEMBER)
    return DatasetOffer(name=name, summary=summary, reference=reference, modality="crispri", source=source)


PUBLISHED = (
    DatasetOffer(
        name="norman",
        summary="CRISPRa in K562: singles and doubles, as scFoundation provides them",
        reference="Norman et al. 2019, doi 10.1126/science.aax4438",
        modality="crispra",
        source=RemoteFile(
            url="https://figshare.com/ndownloader/files/44477939",
            filename="norman_scfoundation.zip",
            member="gse133344_k562gi_oe_pert227_84986_19264_withtotalcount.h5ad",
        ),
    ),
    _gears("adamson", "CRISPRi of the unfolded protein response in K562: singles, as GEARS provides them",
           "Adamson et al. 2016, doi 10.1016/j.cell.2016.11.048", 6154417),
    _gears("replogle_k562", "CRISPRi of essential genes in K562: singles, as GEARS provides them",
           "Replogle et al. 2022, doi 10.1016/j.cell.2022.05.013", 7458695),
    _gears("replogle_rpe1", "CRISPRi of essential genes in RPE1: singles, as GEARS provides them",
           "Replogle et al. 2022, doi 10.1016/j.cell.2022.05.013", 7458694),
)  # fmt: skip
"""Offers of the published screens. The sha256 of the files is not published, so it is recorded at the first fetch."""


# Cell lines are from the articles, not from ``obs["cell_type"]`` in the files.
_CONTEXTS = {"norman": "K562", "adamson": "K562", "replogle_k562": "K562", "replogle_rpe1": "RPE1"}
# Both providers write `ctrl`, `A+ctrl` (sometimes `ctrl+A`), `A+B`, and log1p of normalised counts.
_LAYOUT: dict[str, Any] = {
    "label_column": "condition", "control_label": "ctrl", "separator": "+", "context_column": NONE,
    "level": "cells", "scale": "log1p", "merge_labels": True,
}  # fmt: skip


def load_published(name: str, source: Path | None, params: Mapping[str, Any]) -> Stored:
    """Return a published screen from its fetched file."""
    import pandas as pd

    offer = next(offer for offer in PUBLISHED if offer.name == name)
    if params:
        raise DataError(f"dataset {name!r} has no parameter {next(iter(params))!r}; it takes none")
    if source is None:
        raise DataError(f"dataset {name!r} has no file yet; fetch it with: pertharness data fetch {name}")
    options = check_options(FileOptions, name, {**_LAYOUT, "modality": offer.modality})
    origin = f"{offer.reference}; {offer.source.url if offer.source else source.name}"
    dataset = canonical_dataset(open_stored(source), name, origin, options)
    dataset.obs["context"] = pd.Categorical([_CONTEXTS[name]] * dataset.n_obs)
    return dataset
