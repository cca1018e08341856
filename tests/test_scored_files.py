"""``pertharness score`` with files of other programs: checked before anything runs, read by options and detection."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

N_GENES, N_CELLS = 60, 14
GENES = [f"G{i:02d}" for i in range(N_GENES)]
TARGETS = GENES[:8]


@dataclass
class Screen:
    """A screen of cells with labels of its own, its split, and a store that the tests share."""

    folder: Path
    adata: anndata.AnnData
    held_out: list[str]

    def cells(self, *more: str) -> anndata.AnnData:
        """Return the observed cells of what is held out, and of other labels, under State's names."""
        kept = self.adata[self.adata.obs["target_gene"].isin([*self.held_out, *more]).to_numpy()]
        obs = pd.DataFrame({"target_gene": kept.obs["target_gene"].astype(str).to_numpy(), "cell_type": "H1"})
        obs.index = obs.index.astype(str)
        var = pd.DataFrame({"gene_names": GENES}, index=[str(i) for i in range(N_GENES)])
        return anndata.AnnData(np.asarray(kept.X, dtype=np.float32), obs=obs, var=var)

    def score(self, file: Path, *more: str, out: str, status: int = 0) -> str:
        """Score a file and return what stands on the standard error."""
        asked = [
            "score", str(file), "--data", "screen.h5ad", "--split", "split.json", "--name", "mine", "--models", "mean",
            "--scorers", "l2", "--store", "store", "--out", str(file.parent / out), *more,
        ]  # fmt: skip
        done = command(*asked, cwd=self.folder)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stderr

    def recipe(self, predictions: str, *lines: str) -> str:
        """Return a recipe that scores a file of predictions on this screen; the lines are of its entry."""
        data, split = (json.dumps(str(self.folder / name)) for name in ("screen.h5ad", "split.json"))
        return "\n".join([
            'name = "files"', 'models = ["mean"]', 'scorers = ["l2"]', "[datasets.screen]", f"file = {data}",
            "[[tasks]]", 'name = "single"', f'split = {{ kind = "file", file = {split} }}', "[[predictions]]",
            'name = "mine"', f"file = {json.dumps(predictions)}", *lines,
        ])  # fmt: skip

    def distance(self, file: Path, out: str) -> float:
        """Return the mean l2 of the predictions in a run."""
        board = pd.read_csv(file.parent / out / "leaderboard.csv").query("model == 'mine' and stratum == 'all'")
        return float(board.query("variant == 'default'")["value"].iloc[0])


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name("pertharness")
    return subprocess.run([script, *arguments], cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    folder = tmp_path_factory.mktemp("screen")
    rng = np.random.default_rng(4)
    rates = rng.gamma(1.0, 1.0, N_GENES).clip(0.05)
    labels = [label for label in ["non-targeting", *TARGETS] for _ in range(N_CELLS)]
    effects = {target: rng.normal(0, 0.5, N_GENES) * (rng.random(N_GENES) < 0.3) for target in TARGETS}
    moved = np.array([rates * np.exp(effects.get(label, 0.0)) for label in labels])
    counts = rng.poisson(moved / moved.sum(axis=1, keepdims=True) * rng.uniform(1500, 4000, (len(labels), 1)))
    values = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
    obs = pd.DataFrame({"target_gene": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(len(labels))])
    adata = anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=GENES))
    adata.write_h5ad(folder / "screen.h5ad")
    (folder / "split.json").write_text(json.dumps({"train": TARGETS[:5], "test": TARGETS[5:]}), encoding="utf-8")
    yield Screen(folder, adata, TARGETS[5:])


def test_cells_of_another_program_are_scored_as_they_come(screen: Screen, tmp_path: Path) -> None:
    """The observed cells themselves: their means are the truth but for rounding."""
    screen.cells("non-targeting").write_h5ad(tmp_path / "state.h5ad")
    said = screen.score(tmp_path / "state.h5ad", out="run")
    assert screen.distance(tmp_path / "state.h5ad", "run") == pytest.approx(0, abs=1e-6)
    for note in (
        "the labels of state.h5ad are obs['target_gene']",
        "14 rows of state.h5ad are controls ('non-targeting'): not scored",
        "the genes are named by var['gene_names']: 60 of 60",
        "42 rows of state.h5ad are cells of 3 perturbations, 14 of each",
    ):
        assert note in said
        assert f"predictions mine: {note}" in (tmp_path / "run" / "leaderboard.md").read_text(encoding="utf-8")


def test_options_name_columns_and_layer(screen: Screen, tmp_path: Path) -> None:
    given = screen.cells()
    given.layers["logs"] = given.X.copy()
    given.X = np.zeros_like(given.X)
    given.obs["who"] = given.obs.pop("target_gene")
    given.var["what"] = given.var.pop("gene_names")
    given.var["gene_names"] = given.var["what"].to_numpy()[::-1]
    given.write_h5ad(tmp_path / "p.h5ad")
    options = ["--prediction-label-column", "who", "--prediction-gene-column", "what", "--prediction-layer", "logs"]
    screen.score(tmp_path / "p.h5ad", *options, out="run")
    assert screen.distance(tmp_path / "p.h5ad", "run") == pytest.approx(0, abs=1e-6)
    for left_out, flag in ((0, "--prediction-label-column"), (2, "--prediction-gene-column")):
        said = screen.score(tmp_path / "p.h5ad", *options[:left_out], *options[left_out + 2 :], out="other", status=2)
        assert flag in said
    # The same in a recipe.
    columns = ('label_column = "who"', 'gene_column = "what"', 'layer = "logs"')
    recipe = screen.recipe("p.h5ad", *columns)
    (tmp_path / "recipe.toml").write_text(recipe, encoding="utf-8")
    done = command("run", "recipe.toml", "--store", str(screen.folder / "store"), "--out", "third", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert screen.distance(tmp_path / "p.h5ad", "third") == pytest.approx(0, abs=1e-6)


def test_the_labels_of_the_screen_are_read_by_its_own_options(screen: Screen, tmp_path: Path) -> None:
    """The label map of the data holds for the predictions, too."""
    lines = ["label,targets", *(f"{target},{target}" for target in TARGETS[:-1]), f"odd name,{TARGETS[-1]}"]
    (tmp_path / "map.csv").write_text("\n".join(lines), encoding="utf-8")
    given = screen.cells()
    given.obs["target_gene"] = given.obs["target_gene"].replace({TARGETS[-1]: "odd name"})
    given.write_h5ad(tmp_path / "p.h5ad")
    screen.score(tmp_path / "p.h5ad", "--label-map", str(tmp_path / "map.csv"), out="run")
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv").query("model == 'mine' and stratum == 'all'")
    assert board["scored"].iloc[0] == board["expected"].iloc[0] == 3


def test_a_zarr_store_of_predictions_is_read(screen: Screen, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the next release writes
        screen.cells().write_zarr(tmp_path / "p.zarr")
    screen.score(tmp_path / "p.zarr", out="run")
    assert screen.distance(tmp_path / "p.zarr", "run") == pytest.approx(0, abs=1e-6)


def records(folder: Path) -> dict[str, int]:
    """Return the number of records of each stage in a store, which may not be there yet."""
    if not folder.exists():
        return {}
    return {stage.name: len([*stage.iterdir()]) for stage in folder.iterdir() if stage.is_dir()}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: x.obs.__setitem__("target_gene", "SOX2"), ["none of the held-out perturbations", "'SOX2'", "'G05'"]),
        (lambda x: x.var.__setitem__("gene_names", "x"), ["none of the dataset's", "does not name its genes", "'G00'"]),
        (lambda x: x.X.__setitem__((20, 3), np.nan), ["nan for the perturbation 'G06', gene 'G03' (row '20' of X)"]),
        (lambda x: x.X.__setitem__((20, 3), 12.5), ["12.5 for the perturbation 'G06', gene 'G03' (row '20' of X)"]),
        (lambda x: setattr(x, "X", np.log1p(np.expm1(x.X) * 0.3)), ["adds up to 3000 in each cell", "numpy.expm1"]),
    ],
    ids=["labels", "genes", "nan", "too high", "another total"],
)  # fmt: skip
def test_a_file_that_cannot_be_used_ends_the_command_before_any_model(
    spoil: object, words: list[str], screen: Screen, tmp_path: Path
) -> None:
    given = screen.cells()
    spoil(given)  # type: ignore[operator]
    given.write_h5ad(tmp_path / "p.h5ad")
    before = records(screen.folder / "store")
    said = screen.score(tmp_path / "p.h5ad", "--models", "linear", out="run", status=2)  # which nothing else asks for
    for word in words:
        assert word in said
    assert "predictions 'mine'" in said
    assert not (tmp_path / "run").exists()
    made = records(screen.folder / "store")
    assert made["predictions"] == before.get("predictions", 0) + 1
    assert made.get("scores", 0) == before.get("scores", 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prediction-label-column", "nosuch"], ["obs has no column 'nosuch'", "'target_gene', 'cell_type'"]),
        (["--prediction-gene-column", "nosuch"], ["var has no column 'nosuch'", "'gene_names'"]),
        (["--prediction-layer", "nosuch"], ["no layer 'nosuch'", "it has none"]),
    ],
)
def test_options_that_do_not_fit_end_the_command_before_the_data_is_read(
    options: list[str], words: list[str], screen: Screen, tmp_path: Path
) -> None:
    screen.cells().write_h5ad(tmp_path / "p.h5ad")
    said = screen.score(tmp_path / "p.h5ad", *options, "--store", str(tmp_path / "store"), out="run", status=2)
    for word in words:
        assert word in said
    assert not (tmp_path / "store").exists()


def test_counts_and_what_is_no_h5ad_end_the_command_before_the_data_is_read(screen: Screen, tmp_path: Path) -> None:
    given = screen.cells()
    given.X = np.rint(np.expm1(given.X))
    given.write_h5ad(tmp_path / "counts.h5ad")
    (tmp_path / "table.h5ad").write_text("perturbation,G00\nG05,1.5\n", encoding="utf-8")
    for name, words in {"counts": "whole numbers", "table": "table.h5ad"}.items():
        said = screen.score(tmp_path / f"{name}.h5ad", "--store", str(tmp_path / "store"), out="run", status=2)
        assert words in said
        assert not (tmp_path / "run").exists()
    assert not (tmp_path / "store").exists()


def test_in_a_recipe_a_file_that_cannot_be_used_is_a_record_among_others(screen: Screen, tmp_path: Path) -> None:
    given = screen.cells()
    given.obs["target_gene"] = "SOX2"
    given.write_h5ad(tmp_path / "p.h5ad")
    recipe = screen.recipe("p.h5ad")
    (tmp_path / "recipe.toml").write_text(recipe, encoding="utf-8")
    done = command("run", "recipe.toml", "--store", str(screen.folder / "store"), "--out", "run", cwd=tmp_path)
    assert done.returncode == 1
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv").drop_duplicates("model").set_index("model")
    assert board["state"].to_dict() == {"mine": "failed", "mean": "done"}
