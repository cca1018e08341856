"""Starts children that stay."""

import subprocess

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "done"
SAYS = ()


@hookimpl
def describe():
    offer = ModelOffer(
        name="forks", summary="Starts children that stay", tasks=("double",), input="pseudobulk", information="training"
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    for _ in range(2):
        subprocess.Popen(["sleep", "3603"], start_new_session=True)
    return train.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
