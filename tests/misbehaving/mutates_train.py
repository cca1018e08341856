"""Changes the data that it is given."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "invalid"
SAYS = ("changed", "train", "copy")


@hookimpl
def describe():
    offer = ModelOffer(
        name="mutates_train",
        summary="Changes the data that it is given",
        tasks=("double",),
        input="pseudobulk",
        information="training",
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    train.X[0, 0] += 1
    return train.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
