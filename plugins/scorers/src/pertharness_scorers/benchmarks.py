"""The published benchmark of these metrics: its recipes and numbers, as files of this package."""

from __future__ import annotations

from pertharness import RecipeOffer

AHLMANN_ELTZE_2025 = RecipeOffer(
    name="ahlmann-eltze-2025",
    summary="Ahlmann-Eltze, Huber & Anders 2025",
    doi="10.1038/s41592-025-02772-6",
    recipes={
        "double": "published/ahlmann-eltze-2025-double.toml",
        "single": "published/ahlmann-eltze-2025-single.toml",
    },
    # "Rendered notebook" in it: the output printed in notebooks/double_perturbation_analysis.html of
    # const-ae/linear_perturbation_prediction-Paper at commit 092743c, the authors' own run at the time of the preprint;
    # the article was run again and differs a little.
    numbers="published/ahlmann-eltze-2025.csv",
    source_data=("41592_2025_2772_MOESM3_ESM.xlsx", "41592_2025_2772_MOESM4_ESM.xlsx"),
    aliases={
        "additive_model": "additive", "nochange": "no_change", "no_change_model": "no_change",
        "linear_model": "linear", "mean_model": "mean", "average": "mean", "cpa_model": "cpa",
        "norman_from_scfoundation": "norman", "replogle_k562_essential": "replogle_k562",
        "replogle_rpe1_essential": "replogle_rpe1",
    },
)  # fmt: skip
