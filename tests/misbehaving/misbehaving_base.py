"""A model that does all as it should, of which each plugin here spoils one thing."""

from pertharness import Card, ModelOffer, hookimpl, make_prediction


def make_card(name, **fields):
    """Return the card of a model that predicts doubles."""
    offer = ModelOffer(name=name, summary="Spoilt", tasks=("double",), input="pseudobulk", information="training")
    return Card(models=(offer,), **fields)


@hookimpl
def fit(train):
    """Return the mean of all training rows."""
    return train.X.mean(axis=0)


@hookimpl
def predict(model, controls, queries):
    """Predict that mean for every query."""
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
