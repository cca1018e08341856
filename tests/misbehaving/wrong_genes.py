"""Predicts genes that the dataset has not."""

from misbehaving_base import fit, make_card  # noqa: F401 - hooks
from pertharness import hookimpl, make_prediction

STATE = "invalid"
SAYS = ("genes are missing", "not of the dataset")


@hookimpl
def describe():
    return make_card("wrong_genes")


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), [f"X{gene}" for gene in controls.var_names])
