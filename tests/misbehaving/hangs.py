"""Never comes back."""

import time

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "timeout"
SAYS = ("not finished after", "--timeout")


@hookimpl
def describe():
    offer = ModelOffer(
        name="hangs", summary="Never comes back", tasks=("double",), input="pseudobulk", information="training"
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    time.sleep(3600)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
