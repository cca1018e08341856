"""An embedding that raises, and a model that needs it."""

from pertharness import Card, EmbeddingOffer, ModelOffer, hookimpl

STATE = "failed"
SAYS = ("LookupError", "no vectors")


@hookimpl
def describe():
    embedding = EmbeddingOffer(name="raises_in_embed", summary="Raises", kinds=("gene",))
    model = ModelOffer(
        name="raises_in_embed", summary="Needs it", tasks=("double",), input="pseudobulk", information="training",
        slots={"G": "gene"},
    )  # fmt: skip
    return Card(embeddings=(embedding,), models=(model,))


@hookimpl
def embed(labels):
    raise LookupError("no vectors")


@hookimpl
def fit(embeddings):
    return embeddings["G"]


@hookimpl
def predict(model):
    return model
