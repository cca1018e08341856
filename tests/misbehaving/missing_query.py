"""Leaves a query out without a word."""

from misbehaving_base import fit, make_card  # noqa: F401 - hooks
from pertharness import hookimpl, make_prediction

STATE = "invalid"
SAYS = ("neither answered nor",)


@hookimpl
def describe():
    return make_card("missing_query")


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries[1:], model), controls.var_names)
