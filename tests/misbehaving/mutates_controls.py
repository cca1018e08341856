"""Changes the controls that it is given to predict from."""

from misbehaving_base import fit, make_card  # noqa: F401 - hooks
from pertharness import hookimpl, make_prediction

STATE = "invalid"
SAYS = ("hook predict", "changed 'controls'", "controls = controls.copy()")


@hookimpl
def describe():
    return make_card("mutates_controls")


@hookimpl
def predict(model, controls, queries):
    controls.X -= controls.X.mean(axis=0)
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
