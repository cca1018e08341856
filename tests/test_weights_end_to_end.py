"""A stranger's model with weights, from a server on this machine to the leaderboard; then without the server."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

USUAL = "variant == 'default' and stratum == 'all' and metric == 'l2'"
RECIPE = """
name = "weighty"
seeds = [1]
models = ["mean", "heavy", "light", "learner[G=embed:vectors]", "gpu"]
scorers = ["l2"]

[datasets.demo]
params = { n_genes = 60, n_singles = 8, n_doubles = 8, n_controls = 20, n_cells = 5 }

[[tasks]]
split = { kind = "double" }
"""
PLUGIN = """
import os
from pathlib import Path
import numpy as np, pandas as pd
from pertharness import Card, EmbeddingOffer, ModelOffer, Needs, RemoteFile, hookimpl, make_prediction

def file(name, **more):
    return RemoteFile(url="URL/" + name, filename=name, **{"size_mb": 0.01, "licence": "MIT", **more})

def checkpoint(replaced):
    return dict(params={"checkpoint": ""}, file_params=("checkpoint",), replaces_weights={"checkpoint": (replaced,)})

def offer(name, *weights, **more):
    usual = dict(summary="a model", tasks=("double",), input="pseudobulk", information="training", cheap=True)
    return ModelOffer(name=name, weights=weights, deterministic=True, **usual, **more)

HEAVY, EXTRA = file("heavy.txt", licence="CC-BY-NC-4.0"), file("extra.txt", optional=True)

@hookimpl
def describe():
    models = (
        offer("heavy", HEAVY, EXTRA, **checkpoint("heavy.txt")), offer("light", EXTRA),
        offer("learner", slots={"G": "gene"}),
        offer("drive", file("drive.json", by_hand="open the folder whole-human, download drive.json")),
        offer("termed", side_files=("gene2go.csv",)), offer("gpu", needs=Needs(cuda="12.1", gpu_memory_gb=60)),
    )
    vectors = EmbeddingOffer(name="vectors", summary="vectors", kinds=("gene",), weights=(file("vectors.txt"),),
                             **checkpoint("vectors.txt"))
    return Card(models=models, embeddings=(vectors,))

@hookimpl
def embed(labels, files, params):
    [value] = [float(Path(path).read_text()) for path in [*files.values(), params["checkpoint"]] if path]
    return pd.DataFrame(value, index=labels, columns=["d0"])

@hookimpl
def fit(name, train, files, embeddings, params):
    if params.get("checkpoint"):
        files = {**files, "checkpoint": Path(params["checkpoint"])}
    print(name, sorted(files), "on GPU", os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
    if name == "termed":
        table = pd.read_csv(files["gene2go.csv"])
        assert set(table["gene"]) == set(train.var_names), "terms of other genes"
        return {"terms": table["term"].nunique() / 10}
    return {name: float(path.read_text()) for name, path in files.items()}

@hookimpl
def predict(model, controls, queries):
    return make_prediction({query: np.full(controls.n_vars, sum(model.values())) for query in queries},
                           controls.var_names)
"""
FILES = {"heavy.txt": b"1.5", "extra.txt": b"0.25", "vectors.txt": b"2.0"}


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives the files above."""

    def do_GET(self) -> None:
        body = FILES.get(self.path.removeprefix("/"))
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: Any) -> None:
        """Show nothing."""


@dataclass
class Place:
    """An environment with the plugin, a store, a folder of data, and a server that can be closed."""

    folder: Path
    server: http.server.ThreadingHTTPServer
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def weights(self) -> Path:
        return self.folder / "data" / "weights" / "weighty"

    def install(self) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.folder / "venv")], check=True)
        (packages,) = (self.folder / "venv" / "lib").glob("python*/site-packages")
        parent = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (packages / "parent.pth").write_text(parent, encoding="utf-8")
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        (packages / "weighty_plugin.py").write_text(PLUGIN.replace("URL", url), encoding="utf-8")
        info = packages / "weighty-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: weighty\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text("[pertharness]\nweighty = weighty_plugin\n", encoding="utf-8")
        (self.folder / "r.toml").write_text(RECIPE, encoding="utf-8")

    def call(self, *arguments: str, status: int = 0) -> str:
        """Call pertharness and give what it printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CUDA"))}
        places = {
            name: str(self.folder / name.split("_")[1].lower()) for name in ("PERTHARNESS_STORE", "PERTHARNESS_DATA")
        }
        python = str(self.folder / "venv" / "bin" / "python")
        done = subprocess.run(
            [python, "-c", "from pertharness.host.cli import main; main()", *arguments], cwd=self.folder,
            env={**kept, **places, "PERTHARNESS_ENVS": str(self.folder / "envs"), **self.variables},
            capture_output=True, text=True,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == status, said[-3000:]
        assert "Traceback" not in said
        return said

    def board(self, *more: str, status: int = 0) -> pd.DataFrame:
        """Run the recipe and give its leaderboard by model."""
        self.call("run", "r.toml", "--out", "run", *more, status=status)
        board = pd.read_csv(self.folder / "run" / "leaderboard.csv", keep_default_na=False)
        return board.query(USUAL).set_index("model")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = Place(tmp_path_factory.mktemp("weights"), server)
    place.install()
    yield place
    server.shutdown()
    server.server_close()


def test_without_weights_a_model_is_skipped_and_the_reason_says_what_to_do(place: Place) -> None:
    board = place.board()
    assert board["state"].to_dict() == {
        "mean": "done", "light": "done", "heavy": "skipped", "learner": "skipped", "gpu": "skipped",
    }  # fmt: skip
    assert (
        "needs the file 'heavy.txt' (0.01 MB), which is not available: pertharness weights fetch heavy"
        in board.note["heavy"]
    )
    assert "pertharness weights fetch vectors" in board.note["learner"]
    assert "needs a CUDA device with 60 GB; nvidia-smi shows no usable one" in board.note["gpu"]
    said = place.call("doctor")
    assert "model heavy" in said
    assert "cannot run here: needs the file 'heavy.txt'" in said
    assert "can run here; optional files that are missing: extra.txt" in said


def test_a_model_gets_the_side_file_that_the_dataset_brings(place: Place) -> None:
    recipe = place.folder / "terms.toml"
    recipe.write_text(RECIPE.replace('"mean", "heavy", "light", "learner[G=embed:vectors]", "gpu"', '"termed"'))
    place.call("run", "terms.toml", "--out", "terms")
    board = pd.read_csv(place.folder / "terms" / "leaderboard.csv", keep_default_na=False)
    assert set(board["state"]) == {"done"}
    (made,) = (place.folder / "store" / "side_files").iterdir()
    terms = pd.read_csv(made / "gene2go.csv")["term"]
    assert terms.str.fullmatch(r"GO:(DEMO|NOISE)\d\d").all()
    assert "gene2go.csv" not in place.call("weights", "list")  # it is made, not fetched


def test_a_file_that_only_a_browser_gets_is_never_fetched_and_its_steps_are_printed(place: Place) -> None:
    steps = "drive.json in a browser; open the folder whole-human, download drive.json; put the file, as 'drive.json',"
    printed = place.call("weights", "fetch", "drive", status=1)
    assert "drive: drive.json: NOT FETCHED, 'drive.json' has no open direct link: open http" in printed
    assert steps in printed
    assert steps in place.call("doctor")
    assert "not here, brought by hand" in place.call("weights", "list", "drive")
    place.weights.mkdir(parents=True, exist_ok=True)
    path = place.weights / "drive.json"
    path.write_text("<!DOCTYPE html>", encoding="utf-8")
    assert "is a web page, not a .json file" in place.call("weights", "fetch", "drive", status=1)
    assert "DAMAGED" in place.call("weights", "list", "drive")
    path.write_text("{}", encoding="utf-8")
    assert "drive: drive.json: available, licence MIT" in place.call("weights", "fetch", "drive")
    assert str(path) in place.call("weights", "list", "drive")


def test_a_checkpoint_takes_the_place_of_weights_that_are_not_there_and_the_model_is_called_so(place: Place) -> None:
    tiny = place.folder / "tiny.txt"
    tiny.write_text("0.5", encoding="utf-8")
    models = f'"mean", "heavy[checkpoint={tiny}]", "learner[G=embed:vectors[checkpoint={tiny}]]"'
    text = RECIPE.replace('"mean", "heavy", "light", "learner[G=embed:vectors]", "gpu"', models.replace("embed:", ""))
    (place.folder / "tested.toml").write_text(text, encoding="utf-8")
    prefetched = place.call("prefetch", "tested.toml")
    assert "heavy.txt" not in prefetched
    assert "vectors.txt" not in prefetched
    printed = place.call("run", "tested.toml", "--out", "tested")
    assert not (place.weights / "heavy.txt").exists()
    names = {"mean", "heavy (test weights)", "learner (test weights)"}
    folder = place.folder / "tested"
    for table in ("leaderboard.csv", "scores.csv.gz", "costs.csv"):
        assert set(pd.read_csv(folder / table, keep_default_na=False)["model"]) == names
    pages = [printed, *((folder / name).read_text("utf-8") for name in ("leaderboard.md", "report/index.html"))]
    for page in pages:
        assert "heavy (test weights)" in " ".join(page.split())
    board = pd.read_csv(folder / "leaderboard.csv", keep_default_na=False).query(USUAL).set_index("model")
    assert board["state"].to_dict() == dict.fromkeys(names, "done")
    params = board["params"].to_dict()
    assert params["heavy (test weights)"] == "checkpoint=tiny.txt"
    assert params["learner (test weights)"] == "G=vectors[checkpoint=tiny.txt]"
    assert str(place.folder) not in " ".join(board["params"])
    tested = board.drop(index="mean")
    assert set(tested["rank"]) == set(tested["verdict"]) == set(tested["filled_rank"]) == {""}
    assert all("its weights are not the published ones" in note for note in tested["note"])
    marked = {
        row["model"]: row.get("test_weights") for row in json.loads((folder / "leaderboard.json").read_text())["rows"]
    }
    assert marked == {"mean": None, "heavy (test weights)": True, "learner (test weights)": True}
    key = board["record"]["heavy (test weights)"]
    status = json.loads((place.folder / "store" / "predictions" / key / "status.json").read_text())
    assert status["inputs"]["file checkpoint"] == sha256(b"0.5").hexdigest()
    tiny.write_text("0.25", encoding="utf-8")
    place.call("run", "tested.toml", "--out", "tested")
    other = pd.read_csv(folder / "leaderboard.csv", keep_default_na=False).query(USUAL).set_index("model")
    assert other["record"]["heavy (test weights)"] != key

    refused = text.replace('kind = "double" }', f'kind = "double" }}\nreference = "heavy[checkpoint={tiny}]"')
    (place.folder / "refused.toml").write_text(refused, encoding="utf-8")
    assert "whose weights are not the published ones" in place.call("run", "refused.toml", status=2)


def test_check_skips_an_offer_without_its_weights(place: Place) -> None:
    said = place.call("check", "weighty", "--verbose", status=1)  # its answers are no good predictions
    assert "needs the file 'heavy.txt': pertharness weights fetch heavy" in said
    assert "ok       light-double-answers" in said


def test_a_restricting_licence_is_shown_and_has_to_be_accepted_once(place: Place) -> None:
    assert "CC-BY-NC-4.0, to be confirmed" in place.call("weights", "list", "heavy")
    said = place.call("prefetch", "r.toml", status=1)
    assert "heavy.txt: NOT FETCHED" in said
    assert "licence 'CC-BY-NC-4.0' may restrict its use" in said
    assert "vectors: vectors.txt: fetched, licence MIT" in said
    assert not (place.weights / "heavy.txt").exists()
    said = place.call("weights", "fetch", "heavy", "--accept-licence")
    assert "heavy: heavy.txt: fetched, licence CC-BY-NC-4.0" in said
    assert "CC-BY-NC-4.0, confirmed" in place.call("weights", "list", "heavy")
    assert "available" in place.call("weights", "fetch", "weighty")
    assert "demo: available, built in" in place.call("prefetch", "r.toml")


def test_after_prefetch_a_run_needs_no_network(place: Place) -> None:
    place.server.shutdown()
    place.server.server_close()
    before = {path.name: path.read_bytes() for path in place.weights.iterdir() if path.is_file()}
    board = place.board("--retry", "skipped")
    assert {name: state for name, state in board["state"].items() if name != "gpu"} == dict.fromkeys(
        ("mean", "heavy", "light", "learner"), "done"
    )
    assert {path.name: path.read_bytes() for path in place.weights.iterdir() if path.is_file()} == before
    logs = "".join(path.read_text() for path in (place.folder / "store" / "predictions").glob("*/log.txt"))
    assert "heavy ['extra.txt', 'heavy.txt']" in logs
    assert "light []" in logs  # before the optional file was there, which is another job
    assert "light ['extra.txt']" in logs


def test_a_truncated_file_fails_its_own_model_alone_until_it_is_whole(place: Place) -> None:
    path = place.weights / "vectors.txt"
    path.write_bytes(b"2.")
    board = place.board(status=1)
    assert board.state["learner"] == "failed"
    assert "is incomplete: it has 2 bytes, 3 were recorded" in board.note["learner"]
    assert board.state["heavy"] == "done"
    assert "DAMAGED" in place.call("weights", "list", "vectors")
    assert "is incomplete" in place.call("doctor")
    path.write_bytes(b"9.9")
    assert "has changed" in place.board(status=1).note["learner"]
    path.write_bytes(FILES["vectors.txt"])
    assert place.board().state["learner"] == "done"


def test_a_gpu_is_given_to_a_job_that_needs_one(place: Place, tmp_path: Path) -> None:
    script = tmp_path / "nvidia-smi"
    listed = "0, GPU-small, Small, 16384\\n1, GPU-large, Large, 81920\\n"
    script.write_text(f'#!/bin/sh\n[ -n "$1" ] && printf "{listed}" || echo "CUDA Version: 12.4"\n')
    script.chmod(0o755)
    place.variables["PATH"] = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert "Small, 17 GB; Large, 86 GB; CUDA 12.4" in place.call("doctor")
    assert "use --device cuda" in place.board().note["gpu"]
    assert place.board("--device", "cuda").state["gpu"] == "done"
    logs = "".join(path.read_text() for path in (place.folder / "store" / "predictions").glob("*/log.txt"))
    assert "gpu [] on GPU GPU-large" in logs


def test_a_name_that_nobody_offers_is_a_usage_error(place: Place) -> None:
    assert "did you mean 'heavy'?" in place.call("weights", "fetch", "heavi", status=2)
