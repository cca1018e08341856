"""Is killed by a signal."""

import os
import signal

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "crashed"
SAYS = ("SIGKILL",)


@hookimpl
def describe():
    offer = ModelOffer(
        name="killed", summary="Is killed by a signal", tasks=("double",), input="pseudobulk", information="training"
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    os.kill(os.getpid(), signal.SIGKILL)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
