"""A plugin with an offer of each kind that needs something: a fetched source, a file, a parameter, weights, a slot."""

import demanding_helper as helper
from pertharness import Card, DatasetOffer, EmbeddingOffer, ModelOffer, RemoteFile, hookimpl, make_prediction

FILE = RemoteFile(url="http://127.0.0.1:9/terms.csv", filename="terms.csv")
SCREEN = RemoteFile(url="http://127.0.0.1:9/d.h5ad", filename="d.h5ad")


@hookimpl
def describe():
    return Card(
        datasets=(DatasetOffer(name="d", summary="s", source=SCREEN),),
        embeddings=(EmbeddingOffer(name="e", summary="s", kinds=("gene",), takes_file=True, deterministic=True),),
        models=(
            ModelOffer(
                name="m",
                summary="s",
                tasks=("single",),
                input="pseudobulk",
                information="training",
                cheap=True,
                params={"k": 0, "words": ""},
                file_params=("words",),
                slots={"G": "gene"},
                weights=(FILE,),
            ),
        ),
    )


@hookimpl
def load_dataset(source):
    from pertharness.data import canonical

    return canonical.read(source)


@hookimpl
def embed(source, labels):
    import pandas as pd

    table = pd.read_csv(source, index_col=0)
    return table[table.index.isin(labels)]


@hookimpl
def fit(train, params, files, embeddings):
    if params["k"] != 7:
        helper.call(lambda: [].index("nothing"))
    if params["k"] == 7 and files["terms.csv"].read_text() == "terms":
        return float(embeddings["G"].iloc[0, 0])


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, controls.X[0] + model), controls.var_names)
