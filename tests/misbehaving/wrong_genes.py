"""Predicts genes that the dataset has not."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction

STATE = "invalid"
SAYS = ("genes are missing", "not of the dataset")


@hookimpl
def describe():
    offer = ModelOffer(
        name="wrong_genes",
        summary="Predicts genes that the dataset has not",
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
    return make_prediction(dict.fromkeys(queries, model), [f"X{gene}" for gene in controls.var_names])
