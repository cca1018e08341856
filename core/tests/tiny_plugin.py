"""The smallest plugin: a model that answers every query with the control mean."""

TINY_PLUGIN = """
import os, sys
from pertharness import Card, ModelOffer, hookimpl, make_prediction
OFFER = ModelOffer(name="tiny", summary="s", tasks=("double", "single"), input="pseudobulk", information="controls",
                   cheap=True, deterministic=True)

@hookimpl
def describe():
    return Card(models=(OFFER,))

@hookimpl
def fit(train):
    return "nothing"

@hookimpl
def predict(controls, queries):
    mean = controls.X.mean(axis=0)
    return make_prediction({query: mean for query in queries}, controls.var_names)
"""
