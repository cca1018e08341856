"""The parameters of the model: the published settings as defaults (doi 10.1038/s41587-023-01905-6), each checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pertharness import DataError
from pertharness.contract.jobs import describe_invalid
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Network(_Strict):
    """Arguments of ``model_initialize``.

    Left out: ``decoder_hidden_size``, which changes nothing in 0.1.2, and ``uncertainty``, whose loss ends with an
    error on a CPU (a leaf variable changed in place) and whose variances nothing here would use.
    """

    hidden_size: int = Field(64, ge=1)
    num_go_gnn_layers: int = Field(1, ge=1)
    num_gene_gnn_layers: int = Field(1, ge=1)
    num_similar_genes_go_graph: int = Field(20, ge=1)
    num_similar_genes_co_express_graph: int = Field(20, ge=1)
    coexpress_threshold: float = Field(0.4, ge=0, le=1)
    direction_lambda: float = Field(0.1, ge=0)


class Optimiser(_Strict):
    """Arguments of ``train``."""

    epochs: int = Field(20, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(5e-4, ge=0)


class Own(_Strict):
    """What cell-gears takes elsewhere, or is decided here; README.md says what each does."""

    batch_size: int = Field(32, ge=2)  # batches are normalised
    protocol: Literal["paper", "corrected"] = "paper"
    control_sampling: Literal["protocol", "upstream", "all"] = "protocol"


class Settings(_Strict):
    """All of them but the files."""

    network: Network = Network()
    optimiser: Optimiser = Optimiser()
    own: Own = Own()

    @property
    def sampling(self) -> str:
        """``upstream`` or ``all``: the control cells that a prediction starts from."""
        of_protocol = {"paper": "upstream", "corrected": "all"}[self.own.protocol]
        return of_protocol if self.own.control_sampling == "protocol" else self.own.control_sampling


def default_params() -> dict[str, Any]:
    """Return all parameters with their defaults, as the card lists them: no two groups share a name."""
    return {name: value for group in Settings().model_dump().values() for name, value in group.items()}


def read_settings(params: Mapping[str, Any]) -> Settings:
    """Sort the parameters of a recipe into their groups; those that name files are others' affair.

    Raises
    ------
    DataError
        If one has a value that it cannot have.
    """
    groups = Settings().model_dump()
    given = {name: {key: params[key] for key in group if key in params} for name, group in groups.items()}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][-1])
        raise DataError(f"gears: parameters, {describe_invalid(error)}; it is {params[name]!r}") from None
