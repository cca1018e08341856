"""Cannot run here, and says so: no fault."""

from pertharness import Card, ModelOffer, Skip, hookimpl, make_prediction

STATE = "skipped"
SAYS = ("needs a telescope",)


@hookimpl
def describe():
    offer = ModelOffer(
        name="skips",
        summary="Cannot run here, and says so: no fault",
        tasks=("double",),
        input="pseudobulk",
        information="training",
    )
    return Card(models=(offer,))


@hookimpl
def fit(train):
    raise Skip("needs a telescope")


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
