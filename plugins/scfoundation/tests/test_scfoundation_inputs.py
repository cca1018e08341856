"""Files and data that are not what they have to be: each a message, or a state of the record."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pertharness import DataError, Skip
from pertharness.testing.planted import GENES
from scipy import sparse

torch = pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")

from pertharness_foundation.checkpoint import CheckpointError  # noqa: E402
from pertharness_scfoundation import MODEL, describe, embed, load_model, predict, save_model  # noqa: E402
from pertharness_scfoundation.tiny import write_tiny  # noqa: E402
from pertharness_scfoundation.weights import CHECKPOINT, GENE_LIST, read_gene_list, read_pretrained  # noqa: E402


def changed(params, tmp_path, change):
    """Return the parameters with a checkpoint whose sub-model was changed."""
    content = torch.load(params["checkpoint"], weights_only=True)
    change(content["gene"])
    path = tmp_path / "models.ckpt"
    torch.save(content, path)
    return params | {"checkpoint": str(path)}


class Danger:
    def __reduce__(self):
        return (Path("/nonexistent/was-run").touch, ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>Sign in to SharePoint</html>", "is a web page, not the file"),
        (b"", "is empty"),
        (pickle.dumps({"gene": {"state_dict": {}}}), "is a plain pickle"),
        (pickle.dumps(Danger()), "is a plain pickle"),
    ],
)
def test_a_file_that_is_no_checkpoint(posed, tiny, run_fit, tmp_path, content, message):
    path = tmp_path / "models.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        run_fit(posed, tiny | {"checkpoint": str(path)})


def test_a_checkpoint_that_would_run_code_is_not_opened(posed, tiny, run_fit, tmp_path):
    path = tmp_path / "models.ckpt"
    torch.save({"gene": Danger()}, path)
    with pytest.raises(CheckpointError, match="reading that would run code"):
        run_fit(posed, tiny | {"checkpoint": str(path)})


def test_a_truncated_checkpoint(posed, tiny, run_fit, tmp_path):
    path = tmp_path / "models.ckpt"
    path.write_bytes(Path(tiny["checkpoint"]).read_bytes()[:20_000])
    with pytest.raises(CheckpointError, match="its download did not finish"):
        run_fit(posed, tiny | {"checkpoint": str(path)})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.encoder.norm.bias", None, r"lacks 'encoder.norm.bias' \[16\]"),
        ("model.decoder.norm.weight", (3,), r"'decoder.norm.weight' \[3\] in place of \[16\]"),
        ("model.extra.weight", (2,), "'extra.weight'"),
        ("unprefixed", (2,), "do not begin with 'model.'"),
    ],
)
def test_each_key_of_a_checkpoint_is_accounted_for(posed, tiny, run_fit, tmp_path, key, value, message):
    def change(part):
        if value is None:
            del part["state_dict"][key]
        else:
            part["state_dict"][key] = torch.zeros(value)

    with pytest.raises(CheckpointError, match=message):
        run_fit(posed, changed(tiny, tmp_path, change))


@pytest.mark.parametrize("name", ["seq_len", "decoder", "bin_num"])
def test_a_configuration_without_a_size(posed, tiny, run_fit, tmp_path, name):
    def change(part):
        for config in (part["config"]["model_config"]["mae_autobin"], part["config"]["dataset_config"]["rnaseq"]):
            config.pop(name, None)

    with pytest.raises(CheckpointError, match=f"no complete configuration.*{name}"):
        run_fit(posed, changed(tiny, tmp_path, change))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {"heads": 5}}, "width 16 is no multiple of its 5 heads"),
        ({"encoder": {"heads": 0}}, "encoder_heads is 0; expected at least 1"),
        ({"decoder": {"hidden_dim": -3}}, "decoder_width is -3"),
        ({"encoder": "transformer"}, "has no complete configuration"),
        ({"bin_num": float("inf")}, "has no complete configuration"),
    ],
)
def test_a_configuration_that_makes_no_network(posed, tiny, run_fit, tmp_path, changes, message):
    def change(part):
        config = part["config"]["model_config"]["mae_autobin"]
        part["config"]["dataset_config"]["rnaseq"] = {}
        for name, value in changes.items():
            config[name] = {**config[name], **value} if isinstance(value, dict) else value

    with pytest.raises(CheckpointError, match=message):
        run_fit(posed, changed(tiny, tmp_path, change))


def test_a_configuration_of_another_layout(posed, tiny, run_fit, tmp_path):
    def change(part):
        part["config"]["dataset_config"] = ["rnaseq"]

    with pytest.raises(CheckpointError, match="has no complete configuration"):
        run_fit(posed, changed(tiny, tmp_path, change))


@pytest.mark.parametrize(("name", "value"), [("module_type", "reversible"), ("norm_first", True)])
def test_layers_of_another_kind_are_refused(posed, tiny, run_fit, tmp_path, name, value):
    def change(part):
        part["config"]["model_config"]["mae_autobin"]["encoder"][name] = value

    with pytest.raises(CheckpointError, match=r"its encoder is .*expected a transformer"):
        run_fit(posed, changed(tiny, tmp_path, change))


def test_values_of_the_data_sets_configuration_win(tiny, tmp_path):
    def change(part):
        part["config"]["model_config"]["mae_autobin"]["bin_num"] = 77

    path = Path(changed(tiny, tmp_path, change)["checkpoint"])
    assert read_pretrained(path, GENES).network.sizes.bins == 10


def test_a_gene_list_of_another_version(posed, tiny, run_fit, tmp_path):
    _, gene_list = write_tiny(tmp_path, GENES[:-1])
    with pytest.raises(CheckpointError, match="is for 40 genes, and the gene list has 39"):
        run_fit(posed, tiny | {"gene_list": str(gene_list)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene,index\nA,0\n", "has the columns gene,index; expected gene_name and index"),
        ("<!DOCTYPE html><html>Sign in</html>", "genes.tsv is a web page, not the file"),
        ("gene_name\tindex\nA\t0\nB\t2\n", "row 3: gene 'B', index '2'"),
        ("gene_name\tindex\nA\t0\nA\t1\n", "row 3: gene 'A', index '1'; expected each gene once"),
    ],
)
def test_a_file_that_is_no_gene_list(tmp_path, text, message):
    path = tmp_path / "genes.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_gene_list(path)


def test_data_without_genes_of_the_list_are_skipped_with_the_numbers(posed, tiny, run_fit):
    part = replace(posed, train=posed.train[:, :30].copy(), val=posed.val[:, :30].copy())
    with pytest.raises(Skip, match=r"needs all 40 genes of its list, and the data have 30 of them.*10 are absent"):
        run_fit(part, tiny)


def test_a_data_set_of_50_other_genes_is_an_error_with_an_example(posed, tiny, run_fit):
    train, val = (adata[:, :30].copy() for adata in (posed.train, posed.val))
    for adata in (train, val):
        adata.var_names = [f"GENE{number}" for number in range(30)]
    with pytest.raises(DataError, match=r"none of the 30 genes \(first: 'GENE0'\)"):
        run_fit(replace(posed, train=train, val=val), tiny)


def test_other_genes_are_columns_of_nan_with_the_reason(posed, tiny, run_fit, tmp_path):
    _, _ = write_tiny(tmp_path, GENES[:-3])
    paths = {"checkpoint": tmp_path / CHECKPOINT.filename, "gene_list": tmp_path / GENE_LIST.filename}
    fitted = run_fit(posed, tiny | {name: str(path) for name, path in paths.items()})
    prediction = predict(model=fitted, controls=posed.controls, queries=posed.queries, seed=1)
    assert set(prediction.uns["missing_genes"]) == set(GENES[-3:])
    assert np.isnan(prediction[:, list(GENES[-3:])].X).all()
    assert np.isfinite(prediction[:, list(GENES[:-3])].X).all()


def test_ensembl_ids_are_mapped_by_a_table(posed, tiny, run_fit, tmp_path):
    ids = [f"ENSG{number:011d}" for number in range(len(GENES))]
    table = tmp_path / "hgnc.txt"
    rows = [f"{gene}\t\t\t{ensembl}" for gene, ensembl in zip(GENES, ids, strict=True)]
    table.write_text("\n".join(["symbol\talias_symbol\tprev_symbol\tensembl_gene_id", *rows]) + "\n")
    parts = {name: getattr(posed, name).copy() for name in ("train", "val", "controls")}
    for adata in parts.values():
        adata.var_names = ids
    by_id = replace(posed, **parts)
    with pytest.raises(DataError, match="the data have Ensembl ids, and the model knows symbols"):
        run_fit(by_id, tiny)
    fitted = run_fit(by_id, tiny | {"gene_table": str(table)})
    assert "genes: 40 of 40 are in the model's vocabulary (40 by Ensembl id)" in fitted.notes
    prediction = predict(model=fitted, controls=by_id.controls, queries=posed.queries, seed=1)
    assert list(prediction.var_names) == ids
    assert "missing_genes" not in prediction.uns


def test_perturbed_genes_under_earlier_symbols_are_found_in_a_table(posed, tiny, run_fit, tmp_path):
    table = tmp_path / "hgnc.txt"
    table.write_text("symbol\talias_symbol\tprev_symbol\tensembl_gene_id\nKLF1\tEKLF\t\tENSG00000105610\n")
    parts = {name: getattr(posed, name).copy() for name in ("train", "val", "controls")}
    for adata in parts.values():
        adata.var_names = ["EKLF" if gene == "KLF1" else gene for gene in adata.var_names]
        labels = [_renamed(label) for label in adata.obs["perturbation"]]
        adata.obs["perturbation"] = pd.Categorical(labels)
    task = replace(posed, **parts)
    fitted = run_fit(task, tiny | {"gene_table": str(table)})
    assert not any("left out" in note for note in fitted.notes)
    (tmp_path / "saved").mkdir()
    save_model(model=fitted, folder=tmp_path / "saved")
    queries = [_renamed(query) for query in posed.queries]
    assert any("EKLF" in query for query in [*queries, *parts["train"].obs["perturbation"]])
    for model in (fitted, load_model(folder=tmp_path / "saved", files={}, device="cpu")):
        prediction = predict(model=model, controls=parts["controls"], queries=["EKLF", *queries], seed=1)
        assert prediction.uns["unanswered"] == {}
        assert np.isfinite(prediction.X).all()


def _renamed(label):
    """Return a label with KLF1 under an earlier symbol."""
    return "+".join(sorted("EKLF" if gene == "KLF1" else gene for gene in label.split("+")))


def test_raw_counts_are_refused(posed, tiny, run_fit):
    train = posed.train.copy()
    train.X = train.layers["counts"]
    with pytest.raises(DataError, match="are these raw counts"):
        run_fit(replace(posed, train=train), tiny)


def test_empty_cells_are_left_out_and_counted(posed, tiny, run_fit):
    train = posed.train.copy()
    values = train.X.toarray()
    values[:3] = 0
    train.X = sparse.csr_matrix(values)
    fitted = run_fit(replace(posed, train=train), tiny)
    assert f"3 of {train.n_obs} training cells have no counts and are left out" in fitted.notes


@pytest.mark.parametrize("procedure", ["paper", "corrected"])
def test_controls_that_are_all_empty_are_a_skip(posed, tiny, run_fit, procedure):
    fitted = run_fit(posed, tiny | {"procedure": procedure})
    controls = posed.controls.copy()
    controls.X = sparse.csr_matrix(controls.shape, dtype=np.float32)
    with pytest.raises(Skip, match="all of them are empty"):
        predict(model=fitted, controls=controls, queries=posed.queries, seed=1)


def test_a_file_without_terms_is_refused_before_weights_are_read(posed, tiny, run_fit, tmp_path):
    (tmp_path / "terms.csv").write_text("gene,term\n")
    with pytest.raises(DataError, match=r"terms.csv holds no gene; expected a dict: gene -> terms"):
        run_fit(posed, tiny | {"gene2go": str(tmp_path / "terms.csv")})


def test_totals_are_recovered_where_they_are_not_given(posed, tiny, run_fit):
    expected = run_fit(posed, tiny)
    parts = {name: getattr(posed, name).copy() for name in ("train", "val", "controls")}
    for adata in parts.values():
        del adata.obs["total_counts"]
    fitted = run_fit(replace(posed, **parts), tiny)
    means = [
        predict(model=model, controls=controls, queries=posed.queries, seed=1).X
        for model, controls in ((expected, posed.controls), (fitted, parts["controls"]))
    ]
    np.testing.assert_allclose(means[0], means[1], atol=0.05)


def test_a_perturbed_gene_without_terms_is_named_and_not_answered(posed, tiny, run_fit, tmp_path):
    terms = tmp_path / "terms.csv"
    rows = [f"{gene},GO:{number % 4}" for number, gene in enumerate(GENES) if gene != "JUN"]
    terms.write_text("\n".join(["gene,term", *rows]) + "\n")
    fitted = run_fit(posed, tiny | {"gene2go": str(terms)})
    queries = [*posed.queries, "CEBPE+JUN", "JUN", "NOBODY"]
    prediction = predict(model=fitted, controls=posed.controls, queries=queries, seed=1)
    assert set(prediction.uns["unanswered"]) == {"CEBPE+JUN", "JUN", "NOBODY"}
    assert "JUN is not in the Gene Ontology file" in prediction.uns["unanswered"]["CEBPE+JUN"]
    assert list(prediction.obs["perturbation"]) == posed.queries
    assert any("training perturbations are left out" in note for note in fitted.notes)


def test_no_usable_perturbation_is_a_skip(posed, tiny, run_fit, tmp_path):
    terms = tmp_path / "terms.csv"
    terms.write_text("gene,term\nNOBODY,GO:1\n")
    with pytest.raises(Skip, match="has no perturbed cells to train on"):
        run_fit(posed, tiny | {"gene2go": str(terms)})


def test_less_cells_than_a_batch_are_a_skip(posed, tiny, run_fit):
    with pytest.raises(Skip, match="are less than one batch of 1000"):
        run_fit(posed, tiny | {"batch_size": 1000})


def test_a_loss_that_is_no_number_is_an_error(posed, tiny, run_fit):
    with pytest.raises(DataError, match=r"loss is (nan|inf) in epoch 1"):
        run_fit(posed, tiny | {"lr": 1e30, "epochs": 2})


def test_files_that_are_not_there_are_a_skip_that_says_which_and_from_where(posed, tiny, run_fit):
    for param, file in (("checkpoint", CHECKPOINT), ("gene_list", GENE_LIST)):
        with pytest.raises(Skip, match=f"needs '{file.filename}'.*{file.url[:30]}.*{param}=/PATH"):
            run_fit(posed, {key: value for key, value in tiny.items() if key != param})
    with pytest.raises(Skip, match=r"gene2go\.pkl.*weights fetch scfoundation"):
        run_fit(posed, {key: value for key, value in tiny.items() if key != "gene2go"})
    for param in ("checkpoint", "gene_list", "gene2go", "gene_table"):
        with pytest.raises(DataError, match=rf"scfoundation: {param}='own\.file' is not an absolute path"):
            run_fit(posed, tiny | {param: "own.file"})


def test_the_card_names_the_published_files():
    (model,), (embedding,) = describe().models, describe().embeddings
    assert [file.filename for file in model.weights] == [
        "models.ckpt", "OS_scRNA_gene_index.19264.tsv", "gene2go.pkl",
    ]  # fmt: skip
    assert all(file.sha256 for file in model.weights[:2])
    assert round(model.weights[0].size_mb * 1e6, -3) == 1_432_588_000  # 1 432 587 886 bytes
    assert "non-commercial" in model.weights[0].licence
    assert embedding.weights == model.weights[:2]
    assert MODEL.file_params == ("checkpoint", "gene_list", "gene2go", "gene_table")


def test_the_gene_embedding_is_the_positional_table(tiny):
    params = {name: tiny[name] for name in ("checkpoint", "gene_list")}
    table = embed(labels=["GATA1", "NOBODY", "KLF1"], files={}, params=params)
    assert list(table.index) == ["GATA1", "KLF1"]
    state = torch.load(tiny["checkpoint"], weights_only=True)["gene"]["state_dict"]["model.pos_emb.weight"]
    rows = [GENES.index(gene) for gene in table.index]
    pd.testing.assert_frame_equal(
        table.reset_index(drop=True), pd.DataFrame(state[rows].double().numpy(), columns=table.columns)
    )
    with pytest.raises(Skip, match="none of the 1 genes"):
        embed(labels=["NOBODY"], files={}, params=params)


def test_a_saved_model_does_not_need_the_users_checkpoint(posed, tiny, run_fit, tmp_path):
    checkpoint, _ = write_tiny(tmp_path, GENES)
    fitted = run_fit(posed, tiny | {"checkpoint": str(checkpoint), "procedure": "corrected"})
    expected = predict(model=fitted, controls=posed.controls, queries=posed.queries, seed=1)
    folder = tmp_path / "saved"
    folder.mkdir()
    save_model(model=fitted, folder=folder)
    checkpoint.unlink()
    restored = load_model(folder=folder, files={}, device="cpu")
    prediction = predict(model=restored, controls=posed.controls, queries=posed.queries, seed=1)
    np.testing.assert_allclose(prediction.X, expected.X, atol=1e-6)


def test_a_saved_model_with_the_published_checkpoint_keeps_only_what_was_trained(posed, tiny, run_fit, tmp_path):
    from pertharness_scfoundation import fit

    files = {CHECKPOINT.filename: Path(tiny["checkpoint"]), GENE_LIST.filename: Path(tiny["gene_list"])}
    params = {key: value for key, value in tiny.items() if key not in ("checkpoint", "gene_list")}
    fitted = fit(train=posed.train, val=None, files=files, params=params, device="cpu", seed=1, workdir=tmp_path)
    folder = tmp_path / "saved"
    folder.mkdir()
    save_model(model=fitted, folder=folder)
    with pytest.raises(Skip, match=r"needs 'models.ckpt'"):
        load_model(folder=folder, files={}, device="cpu")
    restored = load_model(folder=folder, files=files, device="cpu")
    for key, value in fitted.head.state_dict().items():
        assert torch.equal(restored.head.state_dict()[key], value)
