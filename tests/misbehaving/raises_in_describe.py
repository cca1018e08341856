"""Cannot even describe itself."""

from pertharness import hookimpl, make_prediction

STATE = "failed"
SAYS = ("RuntimeError", "nothing to say")


@hookimpl
def describe():
    raise RuntimeError("nothing to say")


@hookimpl
def fit(train):
    return train.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
