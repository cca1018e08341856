"""Imports a package that is not there."""

import no_such_package  # noqa: F401
from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "failed"
SAYS = ("no_such_package",)


@hookimpl
def describe():
    offer = ModelOffer(
        name="needs_package",
        summary="Imports a package that is not there",
        tasks=("double",),
        input="pseudobulk",
        information="training",
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    return train.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
