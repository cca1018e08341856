"""Predicts changes that no expression can undergo."""

from misbehaving_base import fit, make_card  # noqa: F401 - hooks
from pertharness import hookimpl, make_prediction

STATE = "invalid"
SAYS = ("hook predict", "-50 for the query", "gene", "out of range")


@hookimpl
def describe():
    return make_card("far_below")


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model * 0 - 50), controls.var_names)
