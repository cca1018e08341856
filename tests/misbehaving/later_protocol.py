"""Was written for a later version of the hooks."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "invalid"
SAYS = ("protocol 99",)


@hookimpl
def describe():
    offer = ModelOffer(
        name="later_protocol",
        summary="Was written for a later version of the hooks",
        tasks=("double",),
        input="pseudobulk",
        information="training",
    )
    return Card(models=(offer,), protocol=99)


@hookimpl
def fit(train):
    return train.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
