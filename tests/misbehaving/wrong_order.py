"""Predicts the genes in another order."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "invalid"
SAYS = ("another order",)


@hookimpl
def describe():
    offer = ModelOffer(
        name="wrong_order",
        summary="Predicts the genes in another order",
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
    return make_prediction(dict.fromkeys(queries, model[::-1]), controls.var_names[::-1])
