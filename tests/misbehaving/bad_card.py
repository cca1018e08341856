"""Fills a field of its card with nonsense."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "failed"
SAYS = ("tasks",)


@hookimpl
def describe():
    return Card(
        models=(
            ModelOffer(name="bad_card", summary="s", tasks=("triple",), input="pseudobulk", information="training"),
        )
    )


@hookimpl
def fit(train):
    return train.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
