"""An embedding that changes the list of labels, and a model that needs it."""

from pertharness import Card, EmbeddingOffer, ModelOffer, hookimpl

STATE = "invalid"
SAYS = ("hook embed", "changed 'labels'", "labels = labels.copy()")


@hookimpl
def describe():
    embedding = EmbeddingOffer(name="mutates_labels", summary="Spoilt", kinds=("gene",))
    model = ModelOffer(
        name="mutates_labels", summary="Needs it", tasks=("double",), input="pseudobulk", information="training",
        slots={"G": "gene"},
    )  # fmt: skip
    return Card(embeddings=(embedding,), models=(model,))


@hookimpl
def embed(labels):
    import pandas as pd

    labels.reverse()
    return pd.DataFrame({"x": range(len(labels))}, index=labels)


@hookimpl
def fit(embeddings):
    return embeddings["G"]


@hookimpl
def predict(model):
    return model
