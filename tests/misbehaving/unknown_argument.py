"""Asks for an argument that the hook has not."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "invalid"
SAYS = ("trainn",)


@hookimpl
def describe():
    offer = ModelOffer(
        name="unknown_argument",
        summary="Asks for an argument that the hook has not",
        tasks=("double",),
        input="pseudobulk",
        information="training",
    )
    return Card(models=(offer,))


@hookimpl
def fit(trainn):
    return trainn.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
