"""Leaves a query out without a word."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "invalid"
SAYS = ("neither answered nor",)


@hookimpl
def describe():
    offer = ModelOffer(
        name="missing_query",
        summary="Leaves a query out without a word",
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
    return make_prediction(dict.fromkeys(queries[1:], model), controls.var_names)
