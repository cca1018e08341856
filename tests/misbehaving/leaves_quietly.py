"""Exits with status 0 and no answer."""

import os

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "crashed"
SAYS = ("exit status 0", "without an answer")


@hookimpl
def describe():
    offer = ModelOffer(
        name="leaves_quietly",
        summary="Exits with status 0 and no answer",
        tasks=("double",),
        input="pseudobulk",
        information="training",
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    os._exit(0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
