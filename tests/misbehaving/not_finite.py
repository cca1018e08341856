"""Predicts NaN."""

import numpy as np
from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "invalid"
SAYS = ("not finite", "nan")


@hookimpl
def describe():
    offer = ModelOffer(
        name="not_finite", summary="Predicts NaN", tasks=("double",), input="pseudobulk", information="training"
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    return train.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model * np.nan), controls.var_names)
