"""Takes memory until it is stopped."""

import time

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "crashed"
SAYS = ("MB of memory", "--memory")


@hookimpl
def describe():
    offer = ModelOffer(
        name="eats_memory",
        summary="Takes memory until it is stopped",
        tasks=("double",),
        input="pseudobulk",
        information="training",
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    blocks = []
    while True:
        blocks.append(b"x" * 50_000_000)
        time.sleep(0.02)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
