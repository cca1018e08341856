"""The rules on small data whose splits are worked out by hand or in plain Python."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.errors import SplitError
from pertharness.host.splits import KINDS, Labelled, make_split

CONTROL = Labelled("control", "ctrl")


def labels_of(*names):
    return [CONTROL, *(Labelled(name, name) for name in names)]


FOUR_PAIRS = labels_of("A", "B", "C", "D", "A+B", "C+D", "A+C", "B+D")


def test_double_halves_and_halves_again():
    # Sorted doubles: A+B A+C B+D C+D. The legacy stream is frozen: RandomState(1).permutation(4) = 3 2 0 1, so C+D and
    # B+D train. A+B and A+C are left; the first is test under `norman`.
    split = make_split(FOUR_PAIRS, kind="double", seed=1, variant="norman")
    assert list(np.random.RandomState(1).permutation(4)) == [3, 2, 0, 1]
    # "ctrl" sorts behind the capitals, as the label that the data give.
    assert split.train == ["A", "B", "C", "D", "control", "C+D", "B+D"]
    assert (split.test, split.val) == (["A+B"], ["A+C"])


def test_double_draws_test_from_the_same_stream_by_default():
    rng = np.random.RandomState(1)
    rng.permutation(4)
    first = ["A+B", "A+C"][rng.permutation(2)[0]]
    split = make_split(FOUR_PAIRS, kind="double", seed=1)
    assert split.variant == "norman_from_scfoundation"
    assert split.test == [first]


def test_double_sorts_the_labels_as_given():
    # Given labels in the opposite order of the canonical ones: positions 3 2 0 1 now mean other doubles.
    given_names = {"A+B": "z", "A+C": "y", "B+D": "x", "C+D": "w"}
    labels = [Labelled(x.perturbation, given_names.get(x.perturbation, x.label_given)) for x in FOUR_PAIRS]
    split = make_split(labels, kind="double", seed=1, variant="norman")
    assert split.train[-2:] == ["A+B", "A+C"]
    assert (split.test, split.val) == (["C+D"], ["B+D"])
    assert split.labels_given == given_names | {"control": "ctrl"}


@pytest.mark.parametrize(("doubles", "said"), [((), 0), (("A+B", "A+C", "B+C"), 3)])
def test_double_needs_four_doubles(doubles, said):
    with pytest.raises(SplitError, match=f"doubles among the perturbations: {said}; .*at least 4"):
        make_split(labels_of("A", "B", "C", *doubles), kind="double", seed=1)


def test_perturbations_of_three_targets_are_dropped_with_the_reason():
    labels = [*FOUR_PAIRS, Labelled("A+B+C", "A+B+C")]
    for kind in ("double", "simulation"):
        assert "3 targets" in make_split(labels, kind=kind, seed=1).dropped["A+B+C"]


def simulate(names, seed):
    """GEARS' procedure a second time, as loops over labels; membership only."""

    def one_pass(names, genes_kept, pairs_kept):
        genes = sorted({gene for name in names for gene in name.split("+")})
        kept = {str(x) for x in np.random.RandomState(seed).choice(genes, int(len(genes) * genes_kept), replace=False)}
        pairs = sorted(name for name in names if "+" in name and set(name.split("+")) <= kept)
        drawn = np.random.RandomState(seed).choice(np.array(pairs), int(len(pairs) * pairs_kept), replace=False)
        train = {name for name in names if "+" not in name and name in kept} | {str(x) for x in drawn}
        return train, set(names) - train

    first, test = one_pass(names, 0.75, 0.75)
    train, val = one_pass(first, 0.9, 0.9)
    return train, val, test


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 65), min_size=12, unique=True), st.integers(0, 9), st.randoms(use_true_random=False))
def test_simulation_holds_out_genes_whatever_the_order(picks, seed, random):
    genes = [f"g{i}" for i in range(11)]
    everything = genes + [f"{a}+{b}" for i, a in enumerate(genes) for b in genes[i + 1 :]]
    names = [sorted(everything)[i] for i in picks]
    names = ["+".join(sorted(name.split("+"))) for name in names]
    split = make_split(labels_of(*names), kind="simulation", seed=seed)
    train, val, test = simulate(names, seed)
    assert (set(split.train) - {"control"}, set(split.val), set(split.test)) == (train, val, test)
    assert split.test == [name for name in names if name in test]
    random.shuffle(names)
    again = make_split(labels_of(*names), kind="simulation", seed=seed)
    assert set(again.test) == test
    assert {k: sorted(v) for k, v in again.subgroups.items()} == {k: sorted(v) for k, v in split.subgroups.items()}


def test_simulation_tells_how_much_of_a_double_was_seen():
    # 4 genes, int(4 * 0.75) = 3 stay: RandomState(1).permutation(4) = 3 2 0 1, so B is held out.
    split = make_split(FOUR_PAIRS, kind="simulation", seed=1)
    assert split.subgroups["test/unseen_single"] == ["B"]
    assert split.subgroups["test/combo_seen1"] == ["A+B", "B+D"]
    # A+C, C+D have both genes seen; int(2 * 0.75) = 1 stays, drawn first of RandomState(1).permutation(2) = 0 1.
    assert split.subgroups["test/combo_seen2"] == ["C+D"]
    assert "test/combo_seen0" not in split.subgroups


def test_simulation_takes_its_fractions_as_parameters():
    # int(4 * 0.5) = 2 genes stay: D and C.
    split = make_split(FOUR_PAIRS, kind="simulation", seed=1, params={"train_gene_set_size": 0.5})
    assert split.subgroups["test/unseen_single"] == ["A", "B"]
    assert split.params == {"train_gene_set_size": 0.5, "combo_seen2_train_frac": 0.75}


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 40), st.integers(2, 7), st.integers(0, 3))
def test_the_folds_of_unseen_cover_every_single_once(count, folds, round_):
    names = [f"g{i}" for i in range(count)]
    if count < folds:
        with pytest.raises(SplitError, match="too few"):
            make_split(labels_of(*names), kind="unseen", seed=1, params={"folds": folds})
        return
    seeds = range(1 + round_ * folds, 1 + (round_ + 1) * folds)
    splits = [make_split(labels_of(*names), kind="unseen", seed=seed, params={"folds": folds}) for seed in seeds]
    assert sorted(name for split in splits for name in split.test) == sorted(names)
    sizes = [len(split.test) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    for split in splits:
        assert len(split.val) == max(1, (count - len(split.test)) // 10)
        assert len(split.train) >= 2


def test_the_next_folds_of_unseen_are_other_folds():
    labels = labels_of(*(f"g{i}" for i in range(30)))
    folds = [{tuple(make_split(labels, kind="unseen", seed=5 * i + j).test) for j in range(1, 6)} for i in range(3)]
    assert folds[0] != folds[1] != folds[2]


def test_unseen_drops_doubles_or_takes_those_that_show_nothing():
    singles = [f"g{i}" for i in range(10)]
    doubles = ["g0+g1", "g2+g3", "g4+g5", "g6+g7", "g8+g9", "g0+x"]
    labels = labels_of(*singles, *doubles)
    assert set(make_split(labels, kind="unseen", seed=1).dropped) == set(doubles)
    split = make_split(labels, kind="unseen", seed=1, variant="with-doubles")
    held = set(split.test) | set(split.val)
    # 10 singles in 5 folds: 2 are test; of the 8 left max(1, int(0.8)) = 1 is val.
    assert (len(split.test), len(split.val)) == (2, 1)
    for double in doubles[:-1]:
        shows = held & set(double.split("+"))
        assert (double in split.train) == (not shows)
        if shows:
            assert f"held-out target '{min(shows)}'" in split.dropped[double]
    assert "'x' is not among" in split.dropped["g0+x"] or "held-out target 'g0'" in split.dropped["g0+x"]


def test_unseen_refuses_too_few_singles_and_seed_zero():
    with pytest.raises(SplitError, match="singles among the perturbations: 3, too few for 5 folds"):
        make_split(labels_of("A", "B", "C"), kind="unseen", seed=1)
    with pytest.raises(SplitError, match=r"seed 0 of split kind .* from 1 to"):
        make_split(labels_of(*"ABCDEF"), kind="unseen", seed=0)


@settings(max_examples=50, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)), which=st.integers(0, 1), seed=st.integers(1, 60),
    genes=st.integers(8, 14), pairs=st.sets(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=4, max_size=20),
    random=st.randoms(use_true_random=False),
)  # fmt: skip
def test_every_perturbation_is_in_one_part_or_dropped(kind, which, seed, genes, pairs, random):
    doubles = {"+".join(sorted((f"g{a}", f"g{b}"))) for a, b in pairs if a != b}
    labels = labels_of(*(f"g{i}" for i in range(genes)), *sorted(doubles))
    variants = KINDS[kind].variants
    variant = variants[which % len(variants)] if variants else None
    if kind == "double" and len(doubles) < 4:
        return
    split = make_split(labels, kind=kind, seed=seed, variant=variant)
    placed = [*split.train, *split.val, *split.test, *split.dropped]
    assert sorted(placed) == sorted(x.perturbation for x in labels)
    assert "control" in split.train
    assert bool(split.test) == KINDS[kind].holds_out
    # The same again, and from other cells first: the same members; where the rule sorts, the same split.
    random.shuffle(labels)
    again = make_split(labels, kind=kind, seed=seed, variant=variant)
    assert all(set(getattr(again, part)) == set(getattr(split, part)) for part in ("train", "val", "test"))
    assert kind == "simulation" or again.hash == split.hash


def guides(*genes: str) -> list[Labelled]:
    """Two guides for each gene, and for each pair of neighbouring genes two doubles of guides."""
    singles = [Labelled(f"{gene}-{k}", f"{gene}-{k}", gene) for gene in genes for k in (1, 2)]
    pairs = list(pairwise(genes))
    doubles = [Labelled(f"{a}-{k}+{b}-{k}", f"{a}-{k}+{b}-{k}", f"{a}+{b}") for a, b in pairs for k in (1, 2)]
    return [CONTROL, *singles, *doubles]


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize(
    ("kind", "variant"),
    [("unseen", "singles"), ("unseen", "with-doubles"), ("simulation", None), ("double", "norman"), ("double", None)],
)
def test_guides_of_one_gene_are_on_one_side(kind: str, variant: str | None, seed: int) -> None:
    labels = guides(*"ABCDEFGHIJKL")
    split = make_split(labels, kind=kind, seed=seed, variant=variant)
    genes_of = {label.perturbation: label.genes for label in labels}
    sides = [{genes_of[name] for name in part if name != "control"} for part in (split.train, split.val, split.test)]
    assert all(sides[1:])
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]
    placed = len(split.train) + len(split.val) + len(split.test) + len(split.dropped)
    assert placed == len(labels)


@pytest.mark.parametrize("kind", ["unseen", "simulation", "double"])
def test_one_guide_for_each_gene_is_split_as_the_genes_are(kind: str) -> None:
    labels = [label for label in guides(*"ABCDEFGHIJKL") if "-2" not in label.perturbation]
    of_genes = [Labelled(label.perturbation.replace("-1", ""), label.label_given) for label in labels]
    guide_split, gene_split = (make_split(given, kind=kind, seed=3) for given in (labels, of_genes))
    for part in ("train", "val", "test"):
        assert [name.replace("-1", "") for name in getattr(guide_split, part)] == getattr(gene_split, part)
