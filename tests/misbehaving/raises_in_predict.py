"""Raises while it predicts."""

from pertharness import Card, ModelOffer, hookimpl

STATE = "failed"
SAYS = ("KeyError", "KLF1")


@hookimpl
def describe():
    offer = ModelOffer(
        name="raises_in_predict",
        summary="Raises while it predicts",
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
    raise KeyError("KLF1")
