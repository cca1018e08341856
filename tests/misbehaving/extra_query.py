"""Answers what was not asked."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "invalid"
SAYS = ("was not asked for", "MADE+UP")


@hookimpl
def describe():
    offer = ModelOffer(
        name="extra_query",
        summary="Answers what was not asked",
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
    return make_prediction(dict.fromkeys([*queries, "MADE+UP"], model), controls.var_names)
