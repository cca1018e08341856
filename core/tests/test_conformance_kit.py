"""Each check of the conformance kit finds the one fault that it is there for, and no other check finds it."""

import importlib

import numpy as np
import pytest
from pertharness.contract.errors import PertharnessError, Skip
from pertharness.contract.jobs import PluginRef
from pertharness.contract.labels import CONTROL, targets_of
from pertharness.data.canonical import check_dataset, pseudobulk
from pertharness.testing import conformance, planted, planted_cells, planted_means, pose
from pertharness.testing.checks import card_checks, list_checks, run_check
from pertharness.testing.subject import Subject

pytest_plugins = ["pertharness.testing.fixtures"]

MODEL = """
import os
from pathlib import Path
import numpy as np
from pertharness import CONTROL, Card, ModelOffer, hookimpl, make_prediction, targets_of
{imports}
@hookimpl
def describe():
    return Card(models=(ModelOffer(name="m", summary="s", tasks=("single",), input="{input}", {card}
        cheap=True, params={{"k": 1}}, slots={slots}, deterministic={deterministic},
        uses_validation={uses_validation}),))

@hookimpl
def fit(train, val, params, seed, workdir, embeddings):
    (workdir / "notes.txt").write_text("in its own folder")
    perturbed = (train.obs["perturbation"] != CONTROL).to_numpy()
    model = np.asarray(train.X[perturbed].mean(axis=0)).ravel().astype(float) * params["k"]
    {fit}
    return model

@hookimpl
def predict(model, controls, queries, seed, oracle):
    means = {{query: model for query in queries}}
    genes, unanswered = list(controls.var_names), {{}}
    {predict}
    return make_prediction(means, genes, unanswered)
{hooks}
"""
SAVE = """
@hookimpl
def save_model(model, folder):
    {save}

@hookimpl
def load_model(folder):
    {load}
"""
WRITE, READ = "np.save(folder / 'm.npy', model)", "return np.load(folder / 'm.npy', allow_pickle=False)"


def saving(save=WRITE, load=READ):
    return {"hooks": SAVE.format(save=save, load=load)}


SORTED = "model = train.to_df().sort_index(axis=1)[perturbed].mean(axis=0).to_numpy().astype(float)"
CHANGE = "model = model - np.asarray(train.X[~perturbed].mean(axis=0)).ravel()"
NOISE = "model = model + np.random.default_rng(seed).normal(0, 0.01, len(model))"
LOUD_NOISE = "model = abs(model + np.random.default_rng(seed).normal(0, 0.35, len(model)))"
PLAIN = {
    "imports": "",
    "card": "information='training',",
    "input": "pseudobulk",
    "slots": {},
    "deterministic": True,
    "uses_validation": False,
    "fit": "",
    "predict": "",
    "hooks": "",
}
SEEING = {"card": "information='oracle', oracle='target_expression',"}
REQUIRED = "assert oracle is not None, 'it has no oracle'; "
MODEL_FAULTS = {
    "none": ({}, set()),
    "given_none": ({"predict": "assert oracle is None"}, set()),
    "given_its_oracle": (
        {
            **SEEING,
            "predict": f"{REQUIRED}assert {{*oracle.obs['perturbation']}} == {{'KLF1', 'CEBPE'}}.intersection(queries)",
        },
        set(),
    ),
    "answers_without_its_oracle": (SEEING, {"without_oracle"}),
    "breaks_without_its_oracle": ({**SEEING, "predict": "oracle.obs"}, {"without_oracle"}),
    "mutates_oracle": ({**SEEING, "predict": f"{REQUIRED}oracle.X.data += 1"}, {"inputs_unchanged"}),
    "cells": ({"input": "cells", "fit": "assert train.n_obs > 100 and 'counts' in train.layers"}, set()),
    "slots": ({"slots": {"G": "gene", "P": "perturbation"}, "fit": "assert sorted(embeddings) == ['G', 'P']"}, set()),
    "raises": ({"fit": "raise ValueError('no')"}, {"answers"}),
    "answers_nothing": ({"predict": "means, unanswered = {}, dict.fromkeys(queries, 'no')"}, {"answers"}),
    "missing_query": ({"predict": "means.pop(queries[0])"}, {"queries"}),
    "extra_query": ({"predict": "means['KLF9'] = model"}, {"queries"}),
    "gene_order": ({"predict": "genes = genes[::-1]"}, {"genes"}),
    "other_genes": ({"predict": "genes[0] = 'KLF9'"}, {"genes"}),
    "not_finite": ({"predict": "means[queries[0]] = model * np.nan"}, {"finite"}),
    "mutates": ({"fit": "train.X[0] += 1"}, {"inputs_unchanged"}),
    "mutates_params": ({"fit": "params['k'] = 2"}, {"inputs_unchanged"}),
    "mutates_slots": ({"slots": {"G": "gene"}, "fit": "embeddings['G'] *= 2"}, {"inputs_unchanged"}),
    "mutates_queries": ({"predict": "queries.reverse()"}, {"inputs_unchanged"}),
    "too_high": ({"predict": "means[queries[0]] = model + 100"}, {"scale"}),
    "keeps_the_first": (
        {"imports": "KEPT = {}", "fit": "model = KEPT.setdefault(0, model)"},
        {"no_state", "gene_order"},
    ),
    "keeps_by_genes": (
        {"imports": "KEPT = {}", "fit": "model = KEPT.setdefault(tuple(train.var_names), model)"},
        {"no_state"},
    ),
    "keeps_by_data": (
        {"imports": "KEPT = {}", "fit": "model = KEPT.setdefault(np.sort(train.X.ravel()).tobytes(), model)"},
        {"no_state", "gene_order"},
    ),
    "keeps_by_all": (
        {"imports": "KEPT = {}", "fit": "model = KEPT.setdefault((train.X.tobytes(), str(params)), model)"},
        set(),
    ),
    "sorted_genes": ({"fit": SORTED}, {"gene_order"}),
    "sorted_genes_of_cells": ({"input": "cells", "fit": SORTED}, {"gene_order"}),
    "sorted_and_stochastic": ({"deterministic": False, "fit": f"{SORTED}; {NOISE}"}, {"gene_order"}),
    "sorted_changes": (
        {
            "deterministic": False,
            "fit": f"{CHANGE}; model = model[np.argsort(train.var_names)]; {NOISE}",
            "predict": "means = {q: controls.X[0] + model for q in queries}",
        },
        {"gene_order"},
    ),
    "changes": (
        {
            "deterministic": False,
            "fit": f"{CHANGE}; {NOISE}",
            "predict": "means = {q: controls.X[0] + model for q in queries}",
        },
        set(),
    ),
    "sorted_and_back": (
        {"fit": f"{SORTED}; model = model[np.argsort(np.argsort(train.var_names))]"},
        set(),
    ),
    "delta": ({"predict": "means = {q: model - controls.X[0] for q in queries}"}, {"scale"}),
    "log2": ({"fit": "model = model / np.log(2)"}, {"scale"}),
    "unseeded": (
        {"deterministic": False, "fit": "model = model + np.random.default_rng().normal(0, 0.01, len(model))"},
        {"same_seed"},
    ),
    "not_deterministic": (
        {"fit": "model = model + np.random.default_rng(seed).normal(0, 0.01, len(model))"},
        {"another_seed"},
    ),
    "stochastic": (
        {
            "deterministic": False,
            "fit": "model = model + np.random.default_rng(seed).normal(0, 0.01, len(model))",
        },
        set(),
    ),
    "weights_drawn_by_place": ({"deterministic": False, "fit": LOUD_NOISE}, set()),
    "sorted_and_loud": ({"deterministic": False, "fit": f"{SORTED}; {LOUD_NOISE}"}, {"gene_order"}),
    "row_order": ({"fit": "model = train.X[0]"}, {"shuffled_cells"}),
    "knows_the_list": ({"predict": "means = {q: model + 0.01 * len(queries) for q in queries}"}, {"one_query"}),
    "query_order": ({"predict": "means = {q: model + 0.01 * i for i, q in enumerate(queries)}"}, {"query_order"}),
    "unseen_gene": ({"predict": "[genes.index(t) for q in queries for t in targets_of(q)]"}, {"unseen_gene"}),
    "home": ({"fit": "Path('~/m.bin').expanduser().write_text('x')"}, {"own_folder"}),
    "temporary": ({"fit": "import tempfile; tempfile.mkstemp()"}, {"own_folder"}),
    "beside": ({"fit": "(workdir.parent / 'm.bin').write_text('x')"}, {"own_folder"}),
    "needs_val": ({"uses_validation": True, "fit": "val.X"}, {"without_val"}),
    "heavy": ({"imports": "import anndata"}, {"card-light"}),
    "saves": (saving(), set()),
    "saves_in_folders": (
        saving(
            "(folder / 'a/b').mkdir(parents=True); np.save(folder / 'a/b/m.npy', model)",
            "return np.load(folder / 'a/b/m.npy')",
        ),
        set(),
    ),
    "saves_too_little": (saving("np.save(folder / 'm.npy', model.astype(np.float16))"), {"saved_model"}),
    "saves_nothing": (saving("pass", "return 1"), {"saved_model"}),
    "saves_a_pickle": (
        saving(
            "import pickle; (folder / 'm.npy').write_bytes(pickle.dumps(model))",
            "import pickle; return pickle.loads((folder / 'm.npy').read_bytes())",
        ),
        {"saved_model"},
    ),
    "saves_objects": (
        saving(
            "np.savez(folder / 'm.npz', m=np.array([model, None], dtype=object))",
            "return np.load(folder / 'm.npz', allow_pickle=True)['m'][0]",
        ),
        {"saved_model"},
    ),
    "saves_a_link": (
        {"imports": "LINKED = Path('notes.txt').absolute()", **saving(f"(folder / 'l').symlink_to(LINKED); {WRITE}")},
        {"saved_model"},
    ),
    "saves_a_path": (
        saving(
            "(folder / 'p').write_text(str(folder)); np.save(folder / 'm.npy', model)",
            "return np.load(Path((folder / 'p').read_text()) / 'm.npy')",
        ),
        {"saved_model"},
    ),
    "saves_beside": (
        {
            "fit": "np.save('mine.npy', model)",
            **saving(
                "(folder / 'p').write_text(str(Path.cwd()))",
                "return np.load(Path((folder / 'p').read_text()) / 'mine.npy')",
            ),
        },
        {"saved_model"},
    ),
    "keeps_what_it_saves": (
        {
            "imports": "KEPT = {}",
            "fit": "KEPT[0] = model",
            **saving("(folder / 'm').write_text('1')", "return KEPT[0]"),
        },
        {"saved_model"},
    ),
    "changes_its_files": (
        saving(load="m = np.load(folder / 'm.npy'); (folder / 'm.npy').unlink(); return m"),
        {"saved_model"},
    ),
    "changes_what_it_is_given": (
        {
            "hooks": saving(load=f"files['mine'] = folder; {READ}")["hooks"].replace(
                "def load_model(folder)", "def load_model(folder, files)"
            )
        },
        {"saved_model"},
    ),
    "restores_none": (saving(load="return None"), {"saved_model"}),
}
SCORER = """
import numpy as np
import pandas as pd
from pertharness import Card, MetricOffer, ScorerOffer, hookimpl
from pertharness.contract.scores import COLUMNS
{imports}

@hookimpl
def describe():
    return Card(scorers=(ScorerOffer(name="s", summary="s", metrics=(
        MetricOffer(id="mae", direction="{direction}", best={best}),)),))

@hookimpl
def score(truth, prediction, controls):
    row_of = {{label: row for row, label in enumerate(truth.obs["perturbation"])}}
    rows = []
    for i, (label, yhat) in enumerate(zip(prediction.obs["perturbation"], prediction.X)):
        y = truth.X[{row}]
        {value}
        rows.append((label, "", "mae", "default", "", value))
    {end}
    return pd.DataFrame(rows, columns=list(COLUMNS))
"""
PLAIN_SCORER = {
    "imports": "",
    "direction": "lower",
    "best": 0.0,
    "row": "row_of[label]",
    "value": "value = abs(yhat - y).mean()",
    "end": "",
}
SCORER_FAULTS = {
    "none": ({}, set()),
    "other_metric": ({"value": "value = 1.0; rows.append((label, '', 'mse', 'default', '', 1.0))"}, {"table"}),
    "infinite": ({"value": "value = np.inf"}, {"table"}),
    "never": ({"value": "value = np.nan"}, {"table"}),
    "best": ({"best": 1.0}, {"perfect"}),
    "direction": ({"direction": "higher"}, {"direction"}),
    "mutates": ({"end": "controls.X[:] = 0"}, {"inputs_unchanged"}),
    "keeps_the_first": (
        {
            "imports": "KEPT = {}",
            "value": "value = abs(yhat - KEPT.setdefault((label, tuple(truth.var_names)), y)).mean()",
        },
        {"no_state"},
    ),
    "names": ({"value": "value = abs(yhat - y).mean() * (1 if label < 'GENE' else 2)"}, {"relabelled"}),
    "rows": ({"row": "i"}, {"row_order"}),
    "first_gene": ({"value": "value = abs(yhat - y)[0]"}, {"gene_order"}),
    "random": ({"value": "value = abs(yhat - y).mean() * (1 + np.random.default_rng().random())"}, {"same_values"}),
    "nan_to_zero": ({"value": "value = np.nan_to_num(abs(yhat - y)).mean()"}, {"nan"}),
    "nanmean": ({"value": "value = np.nanmean(abs(yhat - y)) if np.isfinite(yhat).any() else np.nan"}, {"nan"}),
    "unanswered": (
        {"end": "rows += [(q, '', 'mae', 'default', '', 9.0) for q in row_of if q not in {r[0] for r in rows}]"},
        {"unanswered"},
    ),
}  # fmt: skip
OTHERS = {
    "embeds_all": (
        "from pertharness import Card, EmbeddingOffer, hookimpl\n"
        "@hookimpl\ndef describe(): return Card(embeddings=(EmbeddingOffer(name='e', summary='s', kinds=('gene',)),))\n"
        "@hookimpl\ndef embed(labels):\n    import pandas as pd\n"
        "    return pd.DataFrame({'x': range(len(labels))}, index=labels)\n",
        {"e-gene-unknown_label"},
    ),
    "embeds_anew": (
        "from pertharness import Card, EmbeddingOffer, hookimpl\n"
        "@hookimpl\ndef describe(): return Card(embeddings=(EmbeddingOffer(name='e', summary='s', kinds=('gene',)),))\n"
        "@hookimpl\ndef embed(labels, train):\n    import numpy, pandas as pd\n"
        "    kept = [label for label in labels if label in set(train.var_names)]\n"
        "    return pd.DataFrame(numpy.random.default_rng().random((len(kept), 2)), index=kept)\n",
        {"e-gene-same_table"},
    ),
    "embeds_in_place": (
        "from pertharness import Card, EmbeddingOffer, hookimpl\n"
        "@hookimpl\ndef describe(): return Card(embeddings=(EmbeddingOffer(name='e', summary='s', kinds=('gene',)),))\n"
        "@hookimpl\ndef embed(labels, train):\n    import pandas as pd\n"
        "    labels[:] = [label for label in labels if label in set(train.var_names)]\n    labels.sort()\n"
        "    return pd.DataFrame({'x': range(len(labels))}, index=list(labels))\n",
        {"e-gene-inputs_unchanged"},
    ),
    "embeds_once": (
        "from pertharness import Card, EmbeddingOffer, hookimpl\nKEPT = {}\n"
        "@hookimpl\ndef describe(): return Card(embeddings=(EmbeddingOffer(name='e', summary='s', kinds=('gene',)),))\n"
        "@hookimpl\ndef embed(kind, train):\n    import pandas as pd\n"
        "    return KEPT.setdefault(kind, pd.DataFrame(train.X.T, index=train.var_names))\n",
        {"e-gene-no_state"},
    ),
    "pops_a_parameter": (
        "from pertharness import Card, DatasetOffer, hookimpl\n"
        "@hookimpl\ndef describe(): return Card(datasets=(DatasetOffer(name='d', summary='s', params={'seed': 1}),))\n"
        "@hookimpl\ndef load_dataset(params):\n    from pertharness.testing import planted_cells\n"
        "    return planted_cells(seed=params.pop('seed'))\n",
        {"d-inputs_unchanged"},
    ),
    "loads_anew": (
        "from pertharness import Card, DatasetOffer, hookimpl\n"
        "@hookimpl\ndef describe(): return Card(datasets=(DatasetOffer(name='d', summary='s'),))\n"
        "@hookimpl\ndef load_dataset():\n    import numpy\n    from pertharness.testing import planted_cells\n"
        "    return planted_cells(seed=int(numpy.random.default_rng().integers(1 << 30)))\n",
        {"d-same_data"},
    ),
    "not_canonical": (
        "from pertharness import Card, DatasetOffer, hookimpl\n"
        "@hookimpl\ndef describe(): return Card(datasets=(DatasetOffer(name='d', summary='s'),))\n"
        "@hookimpl\ndef load_dataset():\n    from pertharness.testing import planted_cells\n"
        "    adata = planted_cells()\n    adata.X = adata.layers['counts']\n    return adata\n",
        {"d-canonical"},
    ),
    "no_fit": (
        "from pertharness import Card, ModelOffer, hookimpl\n@hookimpl\ndef describe(): return Card(models=(ModelOffer("
        "name='m', summary='s', tasks=('single',), input='pseudobulk', information='training'),))\n",
        {"card-arguments", "m-single-answers"},
    ),
    "tuple_params": (
        "from pertharness import Card, DatasetOffer, hookimpl\n@hookimpl\ndef describe(): return Card(datasets=("
        "DatasetOffer(name='d', summary='s', takes_file=True, params={'sizes': (1, 2)}),))\n"
        "@hookimpl\ndef load_dataset(): pass\n",
        {"card-params"},
    ),
    "saves_and_does_not_restore": (
        "from pertharness import hookimpl\n@hookimpl\ndef save_model(model, folder): pass\n"
        "@hookimpl\ndef describe(): pass",
        {"card-describe", "card-arguments", "card-params"},
    ),
    "unknown_argument": (
        "from pertharness import hookimpl\n@hookimpl\ndef fit(trian): pass\n@hookimpl\ndef describe(): pass",
        {"card-describe", "card-arguments", "card-params"},
    ),
    "not_a_card": (
        "import pertharness as p\n@p.hookimpl\ndef describe(): return 1",
        {"card-describe", "card-arguments", "card-params"},
    ),
}  # fmt: skip


def failing(module, monkeypatch, tmp_path):
    """Return the ids of the checks that a plugin fails."""
    monkeypatch.chdir(tmp_path)
    ref = PluginRef(name="faulty", module=module, version="0")
    failed = set()
    try:
        checks = list_checks(Subject(ref).card())
    except PertharnessError:
        checks = card_checks()
    for check in checks:
        if check.id == "card-light" and "heavy" not in module:  # an interpreter of its own each time: too slow
            continue
        try:
            run_check(check.id, ref)
        except Skip:
            continue
        except Exception:  # noqa: BLE001 - whatever a plugin raises
            failed.add(check.id)
    return failed


def write(source, name, folder, monkeypatch):
    (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    return name


@pytest.mark.parametrize("fault", MODEL_FAULTS)
def test_a_fault_of_a_model_is_found_by_its_check_alone(fault, tmp_path, monkeypatch):
    changes, expected = MODEL_FAULTS[fault]
    module = write(MODEL.format(**{**PLAIN, **changes}), f"faulty_model_{fault}", tmp_path, monkeypatch)
    found = failing(module, monkeypatch, tmp_path)
    assert found == {name if name.startswith("card") else f"m-single-{name}" for name in expected}


def test_the_oracle_of_a_model_with_a_gene_list_counts_its_genes(tmp_path, monkeypatch):
    weights = "weights=(RemoteFile(url='https://example.org/g', filename='genes.txt'),), gene_list='genes.txt',"
    changes = {
        "imports": "from pertharness import RemoteFile",
        "card": f"{SEEING['card']} {weights}",
        "predict": f"{REQUIRED}assert oracle.obs['detected_listed'].max() == 1 < oracle.obs['detected'].max()",
    }
    module = write(MODEL.format(**{**PLAIN, **changes}), "faulty_model_listed", tmp_path, monkeypatch)
    (tmp_path / "genes.txt").write_text("ACTB\nunknown\n")
    monkeypatch.chdir(tmp_path)
    ref = PluginRef(name="x", module=module, version="0")
    with pytest.raises(Skip, match=r"needs the file 'genes\.txt'"):
        run_check("m-single-answers", ref)
    for check in ("answers", "without_oracle"):
        run_check(f"m-single-{check}", ref, {"genes.txt": tmp_path / "genes.txt"})


@pytest.mark.parametrize("fault", SCORER_FAULTS)
def test_a_fault_of_a_scorer_is_found_by_its_check_alone(fault, tmp_path, monkeypatch):
    changes, expected = SCORER_FAULTS[fault]
    module = write(SCORER.format(**{**PLAIN_SCORER, **changes}), f"faulty_scorer_{fault}", tmp_path, monkeypatch)
    assert failing(module, monkeypatch, tmp_path) == {f"s-{name}" for name in expected}


@pytest.mark.parametrize("fault", OTHERS)
def test_a_fault_of_card_dataset_or_embedding_is_found_by_its_check_alone(fault, tmp_path, monkeypatch):
    source, expected = OTHERS[fault]
    module = write(source, f"faulty_{fault}", tmp_path, monkeypatch)
    assert failing(module, monkeypatch, tmp_path) == expected


def test_ids_are_unique_and_promises_are_sentences():
    for module in ("pertharness_baselines", "pertharness_scorers", "pertharness.datasets"):
        checks = list_checks(Subject(PluginRef(name="x", module=module, version="0")).card())
        assert len({check.id for check in checks}) == len(checks)
        assert all(check.promise.endswith(".") for check in checks)


def test_an_xfail_that_fits_no_check_is_refused():
    with pytest.raises(ValueError, match=r"'linear-\*-nothing' fits no check"):
        conformance("pertharness_baselines", xfail={"linear-*-nothing": "why"})


def test_an_expected_failure_is_strict_and_has_its_reason():
    test = conformance("pertharness_baselines", xfail={"linear-*-genes": "a reason"})
    params = test.pytestmark[0].args[1]
    marked = {param.id: param.marks[0] for param in params if param.marks}
    assert set(marked) == {"linear-single-genes", "linear-transfer-genes"}
    assert all(mark.kwargs == {"reason": "a reason", "strict": True} for mark in marked.values())


def test_planted_data_are_canonical_the_same_every_time_and_hold_the_planted_effects():
    one, other = planted_cells(), planted_cells()
    check_dataset(one, "planted")
    assert (one.X != other.X).nnz == 0
    means = pseudobulk(one)
    assert np.allclose(means.X, planted_means().X)
    row = {label: means.X[i] for i, label in enumerate(means.obs["perturbation"])}
    for single in planted.SINGLES:  # e^1.2 = 3.3-fold, a shift of about 1.2 on log1p of values far above 1
        assert 0.6 < row[single][planted.GENES.index(single)] - row[CONTROL][planted.GENES.index(single)] < 1.8


@pytest.mark.parametrize("level", ["cells", "pseudobulk"])
@pytest.mark.parametrize("kind", ["double", "single", "transfer"])
def test_a_posed_task_holds_its_queries_out(kind, level):
    task = pose(kind, level)
    trained = {*task.train.obs["perturbation"]}
    assert CONTROL in trained
    assert not trained & {*task.queries, *task.val.obs["perturbation"]}
    assert sorted(task.truth.obs["perturbation"]) == sorted(task.queries)
    if kind != "double":
        held_out = {*task.queries, *task.val.obs["perturbation"]}
        assert not held_out & {target for label in trained for target in targets_of(label)}


def test_fixtures_give_the_planted_data(planted_cells, planted_means, planted_task):
    assert planted_cells.shape == (208, 40)
    assert planted_means.shape == (15, 40)
    assert planted_task.task.name in {"double", "single"}


WEIGHTY = """
from pertharness import CONTROL, Card, ModelOffer, RemoteFile, hookimpl, make_prediction
FILES = (RemoteFile(url="http://127.0.0.1:9/w", filename="w.txt"),
         RemoteFile(url="http://127.0.0.1:9/x", filename="x.txt", optional=True))

@hookimpl
def describe():
    usual = dict(summary="s", tasks=("single",), input="pseudobulk", information="training", deterministic=True)
    return Card(models=(ModelOffer(name="m", weights=FILES, **usual), ModelOffer(name="o", weights=FILES[1:], **usual)))

@hookimpl
def fit(name, train, files):
    assert sorted(files) == (["w.txt"] if name == "m" else [])
    return sum(float(path.read_text()) for path in files.values()), train.X.mean(axis=0)

@hookimpl
def predict(model, controls, queries):
    return make_prediction({query: model[0] + model[1] for query in queries}, controls.var_names)
"""


def test_an_offer_gets_the_weights_that_are_there_and_is_skipped_without_those_that_it_needs(tmp_path, monkeypatch):
    (tmp_path / "weighty.py").write_text(WEIGHTY)
    (tmp_path / "w.txt").write_text("0.5")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    ref = PluginRef(name="weighty", module="weighty", version="0")
    with pytest.raises(Skip, match=r"needs the file 'w\.txt': pertharness weights fetch m"):
        run_check("m-single-answers", ref)
    run_check("m-single-answers", ref, {"w.txt": tmp_path / "w.txt"})
    run_check("o-single-answers", ref)
