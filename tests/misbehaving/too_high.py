"""Predicts a count among the log-normalised values."""

from misbehaving_base import fit, make_card  # noqa: F401 - hooks
from pertharness import hookimpl, make_prediction

STATE = "invalid"
SAYS = ("hook predict", "1e+06 for the query", "gene", "out of range")


@hookimpl
def describe():
    return make_card("too_high")


@hookimpl
def predict(model, controls, queries):
    prediction = make_prediction(dict.fromkeys(queries, model), controls.var_names)
    prediction.X[0, 0] = 1e6
    return prediction
