"""Predicts NaN."""

import numpy as np
from misbehaving_base import fit, make_card  # noqa: F401 - hooks
from pertharness import hookimpl, make_prediction

STATE = "invalid"
SAYS = ("not finite", "nan")


@hookimpl
def describe():
    return make_card("not_finite")


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model * np.nan), controls.var_names)
