"""Prints a gigabyte, and then does its work."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "done"
SAYS = ()


@hookimpl
def describe():
    offer = ModelOffer(
        name="talks",
        summary="Prints a gigabyte, and then does its work",
        tasks=("double",),
        input="pseudobulk",
        information="training",
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    for _ in range(1000):
        print("x" * 1_000_000)
    return train.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
