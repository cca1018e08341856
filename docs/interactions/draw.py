"""Draw the interaction analysis of a run: ``python docs/interactions/draw.py RUN FOLDER`` (needs matplotlib).

Four pictures: the deviations from additivity with their empirical null and thresholds, the composition of the called
interactions, how well each model finds them (TPR against FDP), and the classes of each model's largest deviations.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anndata
import matplotlib as mpl
import numpy as np
import pandas as pd
from pertharness_scorers.deviations import observe_doubles
from pertharness_scorers.panel import top_genes

mpl.use("agg")
import matplotlib.pyplot as plt  # after the choice of a backend without a screen
from pertharness import control_mean

COLOURS = {
    "additive": "#c9c9c9", "buffering": "#2f6fab", "synergistic": "#d9822b", "opposite": "#8f3f97", "other": "#5b5b5b",
}  # fmt: skip
MODEL_COLOURS = ("#0b6e4f", "#d1495b", "#3d5a99", "#edae49", "#7b5ea7")


def draw_null(run: Path, folder: Path) -> None:
    """Draw the histogram of y - A with the density of the null and the thresholds (Extended Data Fig. 3b)."""
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    (key,) = manifest["datasets"].values()
    screen = anndata.read_h5ad(Path(manifest["store"]) / "datasets" / key / "pseudobulk.h5ad")
    call = pd.read_csv(run / "tables" / "interaction_call.csv").set_index("threshold").loc["local"]
    y0 = control_mean(screen)
    panel = top_genes(y0, int(call["n_genes"]))
    doubles = observe_doubles(list(screen.obs["perturbation"]), np.asarray(screen.X)[:, panel], y0[panel])
    values = doubles.deviation.ravel()
    reach = np.quantile(np.abs(values), 0.9995)
    bins = np.linspace(-reach, reach, 121)
    figure, axes = plt.subplots(figsize=(7, 3.6))
    inside = (values >= call["lower"]) & (values <= call["upper"])
    shown = np.clip(values, -reach, reach)
    axes.hist([shown[inside], shown[~inside]], bins=bins, stacked=True, color=["#c9c9c9", "#222222"])
    x = np.linspace(-reach, reach, 400)
    density = np.exp(-0.5 * ((x - call["delta"]) / call["sigma"]) ** 2) / (call["sigma"] * np.sqrt(2 * np.pi))
    axes.plot(x, call["p0"] * len(values) * (bins[1] - bins[0]) * density, color="#c0392b", label="empirical null")
    for side, name in (("lower", "n_below"), ("upper", "n_above")):
        axes.axvline(call[side], color="#c0392b", linestyle="--", linewidth=1)
        axes.annotate(
            f"{int(call[name])} called", (call[side], 0.82), xycoords=("data", "axes fraction"),
            xytext=(-6 if side == "lower" else 6, 0), textcoords="offset points",
            ha="right" if side == "lower" else "left",
        )  # fmt: skip
    axes.set(yscale="log", ylabel="entries", title=f"{len(doubles.labels)} doubles x {len(panel)} genes")
    axes.set_xlabel("observed minus additive expectation (log1p CP10k); the outermost bars hold all beyond")
    axes.set_ylim(bottom=0.7)
    axes.legend(frameon=False, loc="upper right")
    _save(figure, folder / "null.png")


def draw_composition(run: Path, folder: Path) -> None:
    """Draw the shares of the classes among all entries, for both thresholds (Fig. 1e)."""
    shares = pd.read_csv(run / "tables" / "class_composition.csv").pivot(
        index="threshold", columns="class", values="share"
    )
    figure, axes = plt.subplots(figsize=(7, 1.9))
    left = np.zeros(len(shares))
    for name in [name for name in COLOURS if name != "additive"]:
        width = 100 * shares[name].to_numpy()
        axes.barh(shares.index, width, left=left, color=COLOURS[name], label=name)
        left += width
    axes.set(xlabel="% of all entries; the rest is additive", ylabel="threshold")
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _save(figure, folder / "composition.png")


def draw_curves(run: Path, folder: Path) -> None:
    """Draw TPR against FDP, mean over splits, a line per model that competes (Fig. 1c)."""
    curves = pd.read_csv(run / "tables" / "curves.csv", keep_default_na=False)
    curves = curves[(curves["metric"] == "tpr_fdp") & (curves["variant"] == "default")]
    figure, axes = plt.subplots(figsize=(5, 3.8))
    for colour, (model, curve) in zip(MODEL_COLOURS, curves.groupby("model", sort=True), strict=False):
        fdp, tpr = curve["coordinate"].astype(float), curve["mean"].astype(float)
        axes.plot(fdp, tpr, color=colour, label=f"{model} ({int(curve['n_splits'].iloc[0])} splits)")
    axes.set(yscale="log", xlabel="false discovery proportion", ylabel="true positive rate", xlim=(0, 1))
    axes.legend(frameon=False)
    _save(figure, folder / "tpr_fdp.png")


def draw_largest(run: Path, folder: Path) -> None:
    """Draw a mosaic per model: predicted class of its 500 largest deviations by observed class (Fig. 1f)."""
    counts = pd.read_csv(run / "tables" / "top500_class.csv", keep_default_na=False)
    models = sorted(counts["model"].unique())
    figure, panels = plt.subplots(1, len(models), figsize=(3.4 * len(models), 3.4), squeeze=False, sharey=True)
    for axes, model in zip(panels[0], models, strict=True):
        table = counts[counts["model"] == model].pivot_table(
            index="observed_class", columns="predicted_class", values="n", aggfunc="sum", fill_value=0
        )
        start = 0.0
        for predicted in [name for name in COLOURS if name in table]:
            width, bottom = table[predicted].sum() / table.to_numpy().sum(), 0.0
            for observed in [name for name in COLOURS if name in table.index]:
                height = table.loc[observed, predicted] / table[predicted].sum()
                axes.bar(
                    start, height, width, bottom, align="edge", color=COLOURS[observed], edgecolor="white",
                    linewidth=0.6,
                )  # fmt: skip
                bottom += height
            if width > 0.05:
                axes.text(start + width / 2, -0.03, predicted, ha="center", va="top", rotation=35, fontsize=8)
            start += width
        axes.set(title=model, xticks=[], xlim=(0, 1), ylim=(0, 1))
    panels[0][0].set_ylabel("share by observed class")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    figure.legend(handles, COLOURS, frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, -0.12))
    _save(figure, folder / "largest.png")


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    of_run, into = map(Path, sys.argv[1:3])
    for draw in (draw_null, draw_composition, draw_curves, draw_largest):
        draw(of_run, into)
