"""Uses observed values of held-out cells, which it does not declare and so is not given."""

from misbehaving_base import fit, make_card  # noqa: F401 - hooks
from pertharness import hookimpl, make_prediction

STATE = "failed"
SAYS = ("AttributeError", "NoneType", "obs")


@hookimpl
def describe():
    return make_card("expects_oracle")


@hookimpl
def predict(model, controls, queries, oracle):
    model = model + oracle.obs["total"].mean()
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
