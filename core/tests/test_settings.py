"""Parameters of an offer from a pydantic model: what the card shows, and how values are read."""

from typing import Literal

import pytest
from pertharness import DataError, ModelOffer, ScorerOffer, TableOffer, read_settings, settings_of
from pertharness.contract.errors import ContractError
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Network(BaseModel):
    """Arguments of the network.

    More on it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=1, description="units of a layer")
    dropout: float | None = Field(None, ge=0, lt=1)
    loss: Literal["nb", "zinb"] = "nb"
    sizes: tuple[int, ...] = (3, 4)

    @model_validator(mode="after")
    def _is_small(self) -> "Network":
        if self.width * len(self.sizes) > 1000:
            raise ValueError(f"width {self.width} with {len(self.sizes)} sizes; expected a product of at most 1000")
        return self


class MySettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = ""
    network: Network = Network()
    fast: bool = False


def test_a_card_has_defaults_types_and_help_from_one_model():
    offer = ModelOffer(
        name="mine", summary="", tasks=("double",), input="cells", information="training", **settings_of(MySettings)
    )
    assert offer.params == {
        "file": "", "width": 64, "dropout": None, "loss": "nb", "sizes": (3, 4), "fast": False,
    }  # fmt: skip
    assert {name: (each.type, each.help) for name, each in offer.params_help.items()} == {
        "file": ("text", ""),
        "width": ("integer >= 1", "units of a layer"),
        "dropout": ("number >= 0 and < 1 or none", "Arguments of the network."),
        "loss": ("'nb' or 'zinb'", "Arguments of the network."),
        "sizes": ("list of integer", "Arguments of the network."),
        "fast": ("true or false", ""),
    }
    assert ModelOffer.model_validate_json(offer.model_dump_json()).params_help == offer.params_help


def test_values_go_to_the_groups_of_their_names_and_back_from_json():
    params = {**settings_of(MySettings)["params"], "width": 8, "sizes": [1, 2], "fast": True}
    expected = MySettings(network=Network(width=8, sizes=(1, 2)), fast=True)
    assert read_settings(MySettings, params, what="mine") == expected
    assert read_settings(MySettings, {}, what="mine") == MySettings()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"widht": 3}, "mine: there is no parameter 'widht'; expected one of file, width"),
        ({"network": {"width": 3}}, "mine: there is no parameter 'network'"),
        ({"width": 0}, "mine: parameter width is 0: Input should be greater than or equal to 1"),
        ({"sizes": [1, "x"]}, r"mine: parameter sizes is \[1, 'x'\]: .*integer"),
        ({"loss": "gauss"}, "mine: parameter loss is 'gauss': .*'nb' or 'zinb'"),
        ({"width": 900}, "mine: parameters: width 900 with 2 sizes; expected a product of at most 1000"),
    ],
)
def test_a_wrong_value_is_named_with_its_parameter(params, message):
    with pytest.raises(DataError, match=message):
        read_settings(MySettings, params, what="mine")


class Twice(BaseModel):
    network: Network = Network()
    width: int = 3


class WithoutDefault(BaseModel):
    width: int


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Twice, "Twice: two parameters are called 'width'"),
        (WithoutDefault, "WithoutDefault: 'width' has no valid default"),
    ],
)
def test_a_model_that_no_card_can_show_is_refused(model, message):
    with pytest.raises(ContractError, match=message):
        settings_of(model)


def test_help_on_what_is_no_parameter_is_refused():
    table = TableOffer(name="t", level="gene")
    with pytest.raises(ValueError, match="'mine' has help on 'widht', which is none of its params"):
        ScorerOffer(name="mine", summary="", tables=(table,), params={"width": 1}, params_help={"widht": {"help": ""}})


def test_former_names_of_a_parameter_are_on_the_card():
    class Renamed(BaseModel):
        procedure: str = Field("paper", json_schema_extra={"formerly": ["protocol", "mode"]})
        seed: int = Field(1, json_schema_extra={"other": 3})

    assert settings_of(Renamed)["params_help"] == {
        "procedure": {"type": "text", "help": "", "formerly": ["protocol", "mode"]},
        "seed": {"type": "integer", "help": ""},
    }
