"""Leaves files about in its working directory."""

from pathlib import Path

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "done"
SAYS = ()


@hookimpl
def describe():
    offer = ModelOffer(
        name="litters",
        summary="Leaves files about in its working directory",
        tasks=("double",),
        input="pseudobulk",
        information="training",
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    for number in range(100):
        Path(f"rubbish{number}.bin").write_bytes(bytes(1000))
    return train.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
