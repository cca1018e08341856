"""The parameters of the model: the published settings as defaults, each checked before anything is trained.

Defaults: the CPA script of Ahlmann-Eltze, Huber & Anders, Nature Methods 2025, doi 10.1038/s41592-025-02772-6.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PUBLISHED_SEED = 8206
"""Seed that the published script passes to upstream's constructor, in every run."""
MAX_TARGETS = 2
"""Targets of a perturbation in upstream's set-up (its ``max_comb_len``), as published."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSettings(_Strict):
    """Arguments of upstream's constructor."""

    n_latent: int = Field(32, ge=1)
    recon_loss: Literal["nb", "zinb"] = "nb"
    doser_type: Literal["linear", "sigm", "logsigm", "mlp"] = "linear"
    n_hidden_encoder: int = Field(256, ge=1)
    n_layers_encoder: int = Field(4, ge=1)
    n_hidden_decoder: int = Field(256, ge=1)
    n_layers_decoder: int = Field(2, ge=1)
    use_batch_norm_encoder: bool = True
    use_layer_norm_encoder: bool = False
    use_batch_norm_decoder: bool = False
    use_layer_norm_decoder: bool = False
    dropout_rate_encoder: float = Field(0.2, ge=0, lt=1)
    dropout_rate_decoder: float = Field(0.0, ge=0, lt=1)
    variational: bool = False


class PlanSettings(_Strict):
    """Upstream's ``plan_kwargs``."""

    n_epochs_kl_warmup: int | None = None
    n_epochs_adv_warmup: int | None = 50
    n_epochs_mixup_warmup: int | None = 10
    n_epochs_pretrain_ae: int | None = 10
    mixup_alpha: float = 0.1
    lr: float = Field(1e-4, gt=0)
    wd: float = 3.2170178270865573e-06
    adv_steps: int | None = 3
    reg_adv: float = 10.0
    pen_adv: float = 20.0
    adv_lr: float = Field(1e-4, gt=0)
    adv_wd: float = 7.051355554517135e-06
    n_layers_adv: int = Field(2, ge=1)
    n_hidden_adv: int = Field(128, ge=1)
    use_batch_norm_adv: bool = True
    use_layer_norm_adv: bool = False
    dropout_rate_adv: float = Field(0.3, ge=0, lt=1)
    step_size_lr: int | None = 25
    do_clip_grad: bool = False
    adv_loss: Literal["cce", "focal"] = "cce"
    gradient_clip_value: float = 5.0


class TrainSettings(_Strict):
    """Arguments of upstream's ``train``."""

    max_epochs: int = Field(2000, ge=1, description="passes over the training cells, at most")
    batch_size: int = Field(2048, ge=2, description="cells per step")
    early_stopping_patience: int = Field(5, ge=1, description="validations without progress that end the training")
    check_val_every_n_epoch: int = Field(5, ge=1, description="epochs from one validation to the next")

    @model_validator(mode="after")
    def _is_validated(self) -> TrainSettings:
        """Refuse a training that ends before the first validation: see ``training.check_trained``."""
        if self.max_epochs < max(2, self.check_val_every_n_epoch):
            raise ValueError(
                f"max_epochs is {self.max_epochs}; expected at least 2 and at least check_val_every_n_epoch "
                f"({self.check_val_every_n_epoch}): upstream gives back the best validated weights, and would have none"
            )
        return self


class OwnSettings(_Strict):
    """Settings of the plugin itself; README.md describes each."""

    procedure: Literal["paper", "corrected"] = Field(
        "paper",
        description="published seed and names of the queries known in training, or neither",
        json_schema_extra={"formerly": ["protocol"]},
    )
    output_scale: Literal["cp10k", "upstream"] = Field(
        "cp10k", description="scale of the means: counts per 10 000, or counts as they are, as published"
    )
    validation_share: float = Field(0.1, gt=0, lt=1, description="share of the training cells that validate")
    control_cells: int = Field(0, ge=0, description="controls that a query is predicted from; 0: all")
    inexact_cells: float = Field(0.01, ge=0, le=1, description="share of cells that may have no whole counts")


class Settings(_Strict):
    """All parameters."""

    model: ModelSettings = ModelSettings()
    plan: PlanSettings = PlanSettings()
    train: TrainSettings = TrainSettings()
    own: OwnSettings = OwnSettings()
