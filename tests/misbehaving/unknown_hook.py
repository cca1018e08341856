"""Has a hook that nobody calls."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "invalid"
SAYS = ("predictt",)


@hookimpl
def describe():
    offer = ModelOffer(
        name="unknown_hook",
        summary="Has a hook that nobody calls",
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


@hookimpl
def predictt(model):
    return model
