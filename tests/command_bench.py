"""A folder with a screen, a split of it and a run on both, and the command as a user calls it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
GENES = [f"G{i:02d}" for i in range(40)]


def pertharness(*arguments: object, cwd: Path, status: int = 0, **env: str | None) -> subprocess.CompletedProcess[str]:
    """Call the command and check its exit status, and that nobody sees a traceback."""
    merged = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
    done = subprocess.run([PERTHARNESS, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, env=merged)
    assert done.returncode == status, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stdout + done.stderr
    assert "bug in pertharness" not in done.stderr
    return done


def screen(**changed: Any) -> anndata.AnnData:
    """A screen of means: control, 8 singles, and 12 doubles of these; log1p of counts per 10 000 by construction."""
    rng = np.random.default_rng(7)
    singles = GENES[:8]
    doubles = [f"{singles[i]}+{singles[(i + step) % 8]}" for step in (1, 3) for i in range(0, 8, step // 2 + 1)]
    labels = ["ctrl", *[f"{gene}+ctrl" for gene in singles], *doubles]
    effect = {gene: rng.normal(0, 0.4, 40) for gene in singles}
    base = rng.normal(5, 1, 40)
    logs = np.array([base + sum(effect.get(part, np.zeros(40)) for part in label.split("+")) for label in labels])
    logs += rng.normal(0, 0.05, logs.shape)
    rates = np.exp(logs)
    values = np.log1p(1e4 * rates / rates.sum(axis=1, keepdims=True))
    obs = pd.DataFrame({"condition": labels}, index=[f"row{i}" for i in range(len(labels))])
    adata = anndata.AnnData(X=values, obs=obs, var=pd.DataFrame(index=GENES))
    for name, value in changed.items():
        setattr(adata, name, value)
    return adata


@dataclass(frozen=True)
class Bench:
    """A folder with a screen, a split of it, and a run on both."""

    folder: Path

    @property
    def truth(self) -> anndata.AnnData:
        manifest = json.loads((self.folder / "runs" / "screen" / "manifest.json").read_text(encoding="utf-8"))
        key = manifest["datasets"]["screen"]
        return anndata.read_h5ad(self.folder / "store" / "datasets" / key / "pseudobulk.h5ad")

    @property
    def split(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "split.json").read_text(encoding="utf-8"))
        return found


def make_bench(folder: Path) -> Bench:
    """Write the screen and the split into a folder, and run all models on them."""
    screen().write_h5ad(folder / "screen.h5ad")
    pertharness("split", "screen.h5ad", "--kind", "double", "--out", "split.json", "--store", "store", cwd=folder)
    asked = ("run", "--data", "screen.h5ad", "--split", "split.json", "--store", "store")
    pertharness(*asked, cwd=folder)
    return Bench(folder)
