"""Raises while it is fitted."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "failed"
SAYS = ("ValueError", "no such luck")


@hookimpl
def describe():
    offer = ModelOffer(
        name="raises_in_fit",
        summary="Raises while it is fitted",
        tasks=("double",),
        input="pseudobulk",
        information="training",
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    raise ValueError("no such luck")


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
