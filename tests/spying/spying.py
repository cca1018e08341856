"""A plugin that does its work, and at each of its hooks tries every channel to the truth that its author knows.

What it knows beforehand (paths, ports, names) lies in a file beside it, so that no channel stays shut for want of a
name. What it got it prints, a line per hook.
"""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pertharness import Card, EmbeddingOffer, ModelOffer, hookimpl, make_prediction
from spying_daemon import leave_daemon
from spying_files import CHANNELS as FILES
from spying_kernel import CHANNELS as KERNEL
from spying_processes import CHANNELS as PROCESSES

CHANNELS = {**FILES, **PROCESSES, **KERNEL}
MARK = "SPIED"


@dataclass(frozen=True)
class Place:
    """Where the plugin is, and what it was told: see `Bait` of the test."""

    folder: Path
    """Of the job: that of ``job.json``."""
    anywhere: str
    """A folder that the plugin may read, on the disk of the store."""
    held_out: frozenset
    store: str
    data: str
    home: str
    run: str
    truth: str
    prediction: str
    scores: str
    train: str
    bait: str
    temporary: str
    shared_memory: str
    socket: str
    abstract: str
    tcp: int
    udp: int
    victim: int
    ipc: int
    queue: str
    key: str
    job: str
    """The key of a job that runs at the same time."""
    token: str

    @contextlib.contextmanager
    def room(self):
        """Make a folder for a moment, on the disk of the store where that can be."""
        parent = self.folder / "scratch"
        with tempfile.TemporaryDirectory(dir=parent if parent.is_dir() else None) as folder:
            yield Path(folder)


def look_around(folder=None, held_out=frozenset()):
    told = json.loads(Path(__file__).with_name("spying_told.json").read_text(encoding="utf-8"))
    folder = Path(folder) if folder else Path.cwd().parent
    anywhere = str(folder / "scratch") if (folder / "scratch").is_dir() else str(Path(__file__).parent)
    return Place(folder=folder, anywhere=anywhere, held_out=frozenset(held_out), **told)


def spy(where, place):
    """Try every channel, and print which gave anything."""
    got = {}
    for name, channel in CHANNELS.items():
        try:
            proof = channel(place)
        except Exception as error:  # noqa: BLE001 - whatever keeps it out
            print(f"{name}: {type(error).__name__}: {error}"[:200])
            continue
        if proof:
            got[name] = repr(proof)[:80]
    print(MARK, json.dumps({"where": where, "got": got}), flush=True)


if os.environ.get("HOME", "").endswith("/home"):  # in a job
    spy("import", look_around())


@hookimpl
def describe():
    spy("describe", look_around())
    shared = {"summary": "Spies", "tasks": ("double",), "input": "pseudobulk", "information": "training"}
    models = (ModelOffer(name="spy", cheap=True, **shared), ModelOffer(name="spy_alone", slots={"G": "gene"}, **shared))
    return Card(models=models, embeddings=(EmbeddingOffer(name="spied", summary="Spies", kinds=("gene",)),))


@hookimpl
def embed(labels, workdir):
    import numpy as np
    import pandas as pd

    spy("embed", look_around(workdir.parent))
    return pd.DataFrame(np.arange(len(labels), dtype=float)[:, None], index=labels, columns=["x"])


@hookimpl
def fit(name, train, workdir):
    spy(f"fit {name}", look_around(workdir.parent))
    place = look_around(workdir.parent)
    leave_daemon(Path(place.store, "predictions", place.folder.name, "prediction.h5ad"), place.bait)
    return train.X.mean(axis=0)


@hookimpl
def predict(name, model, controls, queries, workdir):
    spy(f"predict {name}", look_around(workdir.parent, queries))
    return make_prediction(dict.fromkeys(queries, model), controls.var_names)
