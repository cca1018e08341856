"""Fine-tuning beside a plain loop, resuming, drawing of cells, and what each quirk changes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pertharness import Skip

torch = pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")

from pertharness_scbert import predict, training  # noqa: E402
from pertharness_scbert.cells import lay_out_genes, read_screen, tokenise  # noqa: E402
from pertharness_scbert.drawing import batches_of, draw_cells, split_classes  # noqa: E402
from pertharness_scbert.schedule import learning_rate  # noqa: E402
from pertharness_scbert.settings import FileNames  # noqa: E402
from pertharness_scbert.weights import make_network, read_published  # noqa: E402


def means_of(fitted, posed, oracle, queries=None, seed=1):
    queries = queries or posed.queries
    prediction = predict(model=fitted, controls=posed.controls, queries=queries, oracle=oracle, seed=seed)
    return dict(zip(prediction.obs["perturbation"], prediction.X, strict=True))


def difference(first, second):
    assert first.keys() == second.keys()
    return max(np.abs(first[query] - second[query]).max() for query in first)


def published_of(params):
    return read_published({}, FileNames(**{key: params[key] for key in ("checkpoint", "gene_list")}), any_order=False)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(1, 1e-6), (2, 2.08e-5), (6, 1e-4), (10, 6.58e-5), (15, 3.423e-6), (16, 1e-6), (21, 9e-5), (40, 1.548e-6),
     (42, 1.7e-5)],
)  # fmt: skip
def test_learning_rates_are_the_published_ones(epoch, expected):
    assert learning_rate(epoch - 1, 1e-4) == pytest.approx(expected, rel=5e-4)


@pytest.mark.parametrize("accumulation", ["sum", "mean"])
def test_fine_tuning_is_that_of_a_plain_loop(posed, tiny, run_fit, accumulation):
    """The sequence of cells is drawn with numpy; a step follows every 5th batch, and leftover gradients are kept."""
    params = tiny | {"epochs": 3, "accumulation": accumulation, "lr": 0.02}
    fitted = run_fit(posed, params, seed=3)
    published = published_of(tiny)
    screen = read_screen(posed.train, lay_out_genes(posed.train.var_names, published.genes), 10)
    drawn = draw_cells(screen.labels, 5000, 6, None)
    tokens = torch.from_numpy(tokenise(screen.logs(drawn.cells), 16).astype(np.int64))
    classes = torch.from_numpy(drawn.classes)
    torch.manual_seed(2021)
    network, _ = make_network(published, len(drawn.conditions))
    names = ("norm.", "performer.net.layers.0.", "to_out.")  # of two layers, the last but one is the first
    trained = {key: value for key, value in network.named_parameters() if key.startswith(names)}
    optimiser = torch.optim.Adam(trained.values(), lr=1e-4)
    rng, rates, wrong = np.random.RandomState(2021), (1e-6, 4.0008e-3, 8.0006e-3), []
    states = []
    for rate in rates:
        optimiser.param_groups[0]["lr"] = rate
        network.train()
        order = drawn.training[rng.randint(0, len(drawn.training), len(drawn.training))]
        for number, start in enumerate(range(0, len(order), 3), 1):
            rows = order[start : start + 3]
            loss = torch.nn.functional.cross_entropy(network(tokens[rows]), classes[rows])
            (loss / 5 if accumulation == "mean" else loss).backward()
            if number % 5 == 0:
                optimiser.step()
                optimiser.zero_grad()
        network.eval()
        asked = drawn.test[rng.randint(0, len(drawn.test), len(drawn.test))]
        with torch.no_grad():
            found = torch.cat(
                [network(tokens[asked[start : start + 3]]).argmax(1) for start in range(0, len(asked), 3)]
            )
        wrong.append(float((found != classes[asked]).float().mean()))
        states.append({key: value.clone() for key, value in network.state_dict().items()})
    assert int(np.argmin(wrong)) > 0
    state = fitted.embedder.network.state_dict()
    for key, value in states[int(np.argmin(wrong))].items():
        torch.testing.assert_close(state[key], value, atol=1e-6, rtol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


def test_only_the_last_layer_but_one_the_norm_and_the_classifier_are_trained(posed, tiny, run_fit):
    fitted = run_fit(posed, tiny)
    before, after = published_of(tiny).state, fitted.embedder.network.state_dict()
    changed = {key for key, value in after.items() if key not in before or not torch.equal(value, before[key])}
    trained = ("norm.", "performer.net.layers.0.", "to_out.")
    assert {key for key in changed if not key.startswith(trained)} == {"performer.calls_since_last_redraw"}
    assert {"norm.weight", "performer.net.layers.0.0.fn.to_q.weight", "to_out.fc1.weight"} <= changed
    assert "performer.net.layers.0.0.fn.fast_attention.projection_matrix" not in changed


def test_calls_are_counted_on_from_the_checkpoint_and_features_drawn_again(posed, tiny, run_fit, tmp_path):
    content = torch.load(tiny["checkpoint"], weights_only=True)
    content["model_state_dict"]["performer.calls_since_last_redraw"].fill_(990)
    path = tmp_path / "panglao_pretrain.pth"
    torch.save(content, path)
    network = run_fit(posed, tiny | {"checkpoint": str(path), "epochs": 1}).embedder.network
    batches = -(-int(np.ceil(0.8 * posed.train.n_obs) - 1) // 3)
    assert abs(int(network.performer.calls_since_last_redraw) - (990 + batches - 1001)) <= 1
    key = "performer.net.layers.1.0.fn.fast_attention.projection_matrix"
    assert not torch.equal(network.state_dict()[key], content["model_state_dict"][key])


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    posed, tiny, run_fit, make_oracle, tmp_path, monkeypatch
):
    content = torch.load(tiny["checkpoint"], weights_only=True)
    content["model_state_dict"]["performer.calls_since_last_redraw"].fill_(930)  # drawn again after the kill
    path = tmp_path / "panglao_pretrain.pth"
    torch.save(content, path)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    params = tiny | {"epochs": 3, "checkpoint": str(path)}
    expected = run_fit(posed, params, folder=whole)
    share_wrong, calls = training._Lessons.share_wrong, []

    def killed(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return share_wrong(*args)

    with monkeypatch.context() as patch:
        patch.setattr(training._Lessons, "share_wrong", killed)
        with pytest.raises(KeyboardInterrupt):
            run_fit(posed, params, folder=parts)
    resumed = run_fit(posed, params, folder=parts)
    for key, value in expected.embedder.network.state_dict().items():
        assert torch.equal(resumed.embedder.network.state_dict()[key], value), key
    oracle = make_oracle(posed.queries)
    assert difference(means_of(expected, posed, oracle), means_of(resumed, posed, oracle)) == 0


def test_training_stops_after_more_than_the_patience(posed, tiny, run_fit):
    notes = run_fit(posed, tiny | {"epochs": 30, "patience": 1, "lr": 1e-6}).notes
    note = next(note for note in notes if note.startswith("trained"))
    epochs, best = int(note.split()[1]), int(note.split("those of epoch ")[1].split(",")[0])
    assert "stopped early" in note
    assert epochs == best + 2


def test_rare_conditions_are_left_out_and_a_fifth_of_each_other_one_is_left_aside():
    labels = np.array(["rare"] * 5 + ["B"] * 20 + ["A"] * 40 + ["C"] * 13, dtype=object)
    drawn = draw_cells(labels, 5000, 6, None)
    assert drawn.conditions == ("A", "B", "C")
    assert [drawn.conditions[number] for number in drawn.classes] == list(labels[drawn.cells])
    assert "1 conditions with less than 6 drawn cells are left out" in drawn.note
    assert sorted([*drawn.training, *drawn.test]) == list(range(73))
    # A fifth of 73, rounded up, is 15: 8 of 40, 4 of 20, 2.6 of 13.
    assert np.bincount(drawn.classes[drawn.test]).tolist() == [8, 4, 3]


def test_at_most_so_many_cells_are_drawn_each_once():
    labels = np.array(["A", "B"] * 300, dtype=object)
    drawn = draw_cells(labels, 100, 6, None)
    assert len(set(drawn.cells)) == 100
    again, other = draw_cells(labels, 100, 6, None), draw_cells(labels, 100, 6, 5)
    assert np.array_equal(drawn.cells, again.cells)
    assert not np.array_equal(drawn.cells, other.cells)
    assert np.array_equal(drawn.cells, np.sort(np.random.RandomState(0).choice(600, 100, replace=False)))


def test_equal_remainders_are_decided_by_the_draw():
    classes = np.repeat(np.arange(4), 6)  # 1.2 each of 24; 5 are left aside
    counts = {tuple(np.bincount(classes[split_classes(classes, np.random.RandomState(seed))[1]])) for seed in range(40)}
    assert counts == {(2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2)}


def test_batches_are_drawn_with_replacement_or_each_cell_once():
    rows = np.arange(100, 200)
    for replacement, distinct in ((True, False), (False, True)):
        batches = list(batches_of(rows, 3, np.random.RandomState(0), replacement=replacement))
        assert [len(batch) for batch in batches] == [3] * 33 + [1]
        assert (len(set(np.concatenate(batches))) == 100) is distinct


def test_the_published_fine_tuning_does_not_depend_on_the_training_seed(posed, tiny, run_fit, tmp_path):
    weights = {}
    for chosen in (None, "run"):
        for seed in (1, 2):
            folder = tmp_path / f"{chosen}{seed}"
            folder.mkdir()
            fitted = run_fit(posed, tiny | {"finetuning_seed": chosen}, seed=seed, folder=folder)
            weights[chosen, seed] = fitted.embedder.network.state_dict()["to_out.fc3.weight"]
            weights[chosen, seed, "pool"] = torch.from_numpy(fitted.embedder.pool.tokens)
    assert torch.equal(weights[None, 1], weights[None, 2])
    assert not torch.equal(weights["run", 1], weights["run", 2])
    assert not torch.equal(weights[None, 1, "pool"], weights[None, 2, "pool"])


@pytest.mark.parametrize(
    ("quirk", "value"),
    [("position_table", "on"), ("embedded_cells", "all"), ("embedding_mean", "true"), ("sampling", "epoch"),
     ("key_maximum", "cell"), ("accumulation", "mean"), ("finetuning_seed", "run")],
)  # fmt: skip
def test_each_quirk_can_be_undone_alone(posed, tiny, run_fit, make_oracle, tmp_path, quirk, value):
    folders = [tmp_path / name for name in ("published", "changed")]
    for folder in folders:
        folder.mkdir()
    params = tiny | {"lr": 0.05}
    published, changed = (
        run_fit(posed, more, folder=folder) for more, folder in zip((params, params | {quirk: value}), folders,
                                                                    strict=True)
    )  # fmt: skip
    choices = changed.embedder.settings.choices()
    assert choices == replace(published.embedder.settings.choices(), **{quirk: value})
    oracle = make_oracle(posed.queries)
    if quirk == "accumulation":  # Adam's steps do not depend on the scale of gradients, up to its epsilon
        assert difference(means_of(published, posed, oracle), means_of(changed, posed, oracle)) > 0
        return
    assert difference(means_of(published, posed, oracle), means_of(changed, posed, oracle)) > 1e-6


def test_the_published_embedding_is_a_hundredth_of_three_cells(posed, tiny, run_fit):
    from pertharness_scbert.pasting import TrainingCells

    fitted = run_fit(posed, tiny | {"epochs": 1, "control_cells": 100})
    embedder, label = fitted.embedder, "CEBPE+KLF1"
    screen = read_screen(posed.train, lay_out_genes(posed.train.var_names, fitted.genes), 10)
    numbers = np.flatnonzero(screen.labels == label)
    drawn = numbers[np.random.default_rng([1, *label.encode()]).integers(0, len(numbers), 100)]
    tokens = embedder.pool.tokens[:3].astype(np.int64)
    of_condition = tokenise(screen.logs(drawn[:3]), 16)
    columns = [fitted.genes.index("CEBPE"), fitted.genes.index("KLF1")]
    tokens[:, columns] = of_condition[:, columns]
    with torch.no_grad():
        cells = [embedder.network.encode(torch.from_numpy(row)[None], positions=False)[0].mean(dim=0) for row in tokens]
    expected = torch.stack(cells).double().sum(dim=0).numpy() / 100
    np.testing.assert_allclose(embedder.embed(label, TrainingCells(screen), 1), expected, atol=1e-7)
    np.testing.assert_array_equal(fitted.conditions.embeddings[label], embedder.embed(label, TrainingCells(screen), 1))


def test_observed_values_of_a_training_cell_are_the_same_from_an_oracle(posed, tiny, run_fit, make_oracle):
    from pertharness_scbert.pasting import TrainingCells, read_held_out

    screen = read_screen(posed.train, lay_out_genes(posed.train.var_names, published_of(tiny).genes), 10)
    labels = ["KLF1", "CEBPE+KLF1"]
    held_out, observed = read_held_out(make_oracle(labels, cells=posed.train), 10), TrainingCells(screen)
    for label in labels:
        genes = label.split("+")
        values = [source.log2_of(source.cells_of(label), genes) for source in (held_out, observed)]
        assert len(values[0]) == 12
        np.testing.assert_array_equal(*values)


def test_answers_do_not_depend_on_the_other_queries(posed, tiny, run_fit, make_oracle):
    fitted = run_fit(posed, tiny)
    together = means_of(fitted, posed, make_oracle(posed.queries))
    alone = means_of(fitted, posed, make_oracle(posed.queries[1:]), posed.queries[1:])
    np.testing.assert_array_equal(alone[posed.queries[1]], together[posed.queries[1]])


@pytest.mark.parametrize("embedding", ["random", "permuted"])
def test_the_controls_of_the_embedding_are_other_models(posed, tiny, run_fit, make_oracle, embedding):
    params, oracle = tiny | {"procedure": "corrected", "ridge": 1e-3}, make_oracle(posed.queries)
    fitted = run_fit(posed, params | {"embedding": embedding})
    prediction = predict(model=fitted, controls=posed.controls, queries=posed.queries, oracle=oracle, seed=1)
    assert any("as a control" in note for note in prediction.uns["notes"])
    assert difference(means_of(run_fit(posed, params), posed, oracle), means_of(fitted, posed, oracle)) > 1e-6


def test_no_two_conditions_with_enough_cells_are_a_skip(posed, tiny, run_fit):
    with pytest.raises(Skip, match=r"0 of 12 training conditions have at least 100 .* the largest has 40. It needs"):
        run_fit(posed, tiny | {"smallest_condition": 100})
    with pytest.raises(Skip, match=r"1 of 12 training conditions have at least 20 "):
        run_fit(posed, tiny | {"smallest_condition": 20})


def test_the_benchmark_computes_what_the_plain_form_does():
    script = Path(__file__).parents[3] / "benchmarks" / "scbert.py"
    command = [sys.executable, str(script), "--small", "--seconds", "0.1"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = {line["what"]: line for line in map(json.loads, printed.splitlines())}
    assert figures["cells"]["largest_difference"] < 1e-5
    assert figures["published embedding"]["largest_difference"] < 1e-5
    assert {"tokenising", "fine-tuning"} <= figures.keys()
