"""The card, the parameters, and the files of the environment: no upstream needed."""

from pathlib import Path

import pertharness_cpa as plugin
import pytest
from packaging.requirements import Requirement
from pertharness import DataError, Skip, read_settings
from pertharness.contract.jobs import PluginRef
from pertharness.testing.checks import card_checks, run_check
from pertharness_cpa.settings import Settings

PACKAGE = Path(plugin.__file__).parent


@pytest.mark.parametrize("check", card_checks(), ids=lambda check: check.id)
def test_the_card_keeps_its_promises(check):
    try:
        run_check(check.id, PluginRef(name="cpa", module="pertharness_cpa", version="0"))
    except Skip as skip:  # where the plugin is on the path, but not installed
        pytest.skip(str(skip))


def test_published_settings_are_the_defaults():
    # The CPA script of doi 10.1038/s41592-025-02772-6.
    published = {
        "n_latent": 32, "recon_loss": "nb", "doser_type": "linear", "n_layers_encoder": 4, "n_hidden_encoder": 256,
        "n_layers_decoder": 2, "n_hidden_decoder": 256, "dropout_rate_encoder": 0.2, "variational": False,
        "max_epochs": 2000, "batch_size": 2048, "early_stopping_patience": 5, "check_val_every_n_epoch": 5,
        "n_epochs_adv_warmup": 50, "n_epochs_mixup_warmup": 10, "n_epochs_pretrain_ae": 10, "mixup_alpha": 0.1,
        "lr": 1e-4, "adv_lr": 1e-4, "adv_steps": 3, "reg_adv": 10.0, "pen_adv": 20.0, "dropout_rate_adv": 0.3,
        "step_size_lr": 25, "do_clip_grad": False, "adv_loss": "cce", "gradient_clip_value": 5.0,
    }  # fmt: skip
    assert published.items() <= plugin.OFFER.params.items()
    assert plugin.OFFER.params["procedure"] == "paper"
    assert plugin.OFFER.params_help["procedure"].formerly == ("protocol",)
    assert read_settings(Settings, plugin.OFFER.params, what="cpa") == Settings()


def test_no_parameter_belongs_to_two_groups():
    groups = Settings().model_dump().values()
    assert sum(len(group) for group in groups) == len(plugin.OFFER.params)
    assert all(each.help for each in plugin.OFFER.params_help.values())


def test_held_out_cells_are_no_part_of_what_it_asks_for():
    assert not plugin.OFFER.uses_validation
    assert "never done here" in plugin.OFFER.summary


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epochs": 3}, "there is no parameter 'epochs'"),
        ({"max_epochs": 0}, r"max_epochs is 0: .* greater than or equal to 1"),
        ({"max_epochs": 4}, r"max_epochs is 4; expected at least 2 and at least check_val_every_n_epoch \(5\)"),
        ({"validation_share": 0}, r"validation_share is 0: .* greater than 0"),
        ({"procedure": "mine"}, r"procedure is 'mine': .*'paper' or 'corrected'"),
        ({"recon_loss": "gauss"}, "recon_loss is 'gauss': "),
    ],
)
def test_a_wrong_parameter_is_named(params, message):
    with pytest.raises(DataError, match=message):
        read_settings(Settings, params, what="cpa")


def test_the_lock_is_exact_and_says_not_where_from():
    lines = (PACKAGE / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all([one.operator for one in pin.specifier] == ["=="] and not pin.url for pin in pins)
    names = [pin.name for pin in pins]
    assert len(set(names)) == len(names)
    assert {"cpa-tools", "torch", "anndata", "pydantic", "pluggy", "psutil"} <= set(names)
    assert not {"pertharness", "pertharness-cpa"} & set(names)
