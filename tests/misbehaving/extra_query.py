"""Answers what was not asked."""

from misbehaving_base import fit, make_card  # noqa: F401 - hooks
from pertharness import hookimpl, make_prediction

STATE = "invalid"
SAYS = ("was not requested", "MADE+UP")


@hookimpl
def describe():
    return make_card("extra_query")


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys([*queries, "MADE+UP"], model), controls.var_names)
