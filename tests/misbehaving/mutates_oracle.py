"""Changes the observed values that it is given."""

from misbehaving_base import fit  # noqa: F401 - hooks
from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "invalid"
SAYS = ("hook predict", "changed 'oracle'", "work on a copy")


@hookimpl
def describe():
    offer = ModelOffer(
        name="mutates_oracle", summary="Spoilt", tasks=("double",), input="pseudobulk", information="oracle",
        oracle="target_expression",
    )  # fmt: skip
    return Card(models=(offer,))


@hookimpl
def predict(model, controls, queries, oracle):
    oracle.obs["total"] /= 2
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
