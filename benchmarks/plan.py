"""Time the plan of a recipe with many models, beside the writing and hashing of its jobs alone.

    python benchmarks/plan.py [JOBS]

The recipe poses both tasks of the demo data for ten split seeds, to as many settings of ``linear`` as give so many jobs
(25 000 by default), scored by all scorers. Prints jobs, seconds and processor seconds; one thread, plugins known
beforehand, files in the cache. The alternative writes each job's canonical JSON once more and hashes it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from pertharness.files.whole import canonical_json, sha256_text
from pertharness.host.execution.local import local_executor
from pertharness.host.plan import Source, build_plan
from pertharness.host.plugins.registry import open_registry
from pertharness.host.recipe import make_recipe, parse_models
from pertharness.host.run.quick import quick_recipe
from pertharness.host.store.records import Store

SEEDS = 10


def measure(n_jobs: int = 25_000) -> tuple[int, float, float, float]:
    """Return the number of jobs, seconds and processor seconds of the plan, and processor seconds of the hashing."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder))
        registry = open_registry()
        scorers = [one for one in registry.scorers.values() if not one.offer.calibrates]
        # Each model is one prediction and its scores, of two tasks and all seeds; not all scorers are for singles.
        of_a_model = SEEDS * sum(1 + sum(kind in one.offer.tasks for one in scorers) for kind in ("double", "single"))
        models = ",".join(f"linear[ridge={1 + i / 1000}]" for i in range(-(-n_jobs // of_a_model)))
        given = quick_recipe((), tasks=(), split=None, params={}).model_dump(exclude_none=True)
        recipe = make_recipe({**given, "seeds": list(range(1, SEEDS + 1)), "models": parse_models(models)})
        started, began = time.perf_counter(), time.process_time()
        plan = build_plan(
            recipe, registry, store, {name: Source() for name in recipe.datasets}, local_executor(store.root)
        )
        seconds, processor = time.perf_counter() - started, time.process_time() - began
        began = time.process_time()
        for node in plan.nodes.values():
            sha256_text(canonical_json(node.job.model_dump(mode="json")))
        return len(plan.nodes), seconds, processor, time.process_time() - began


def main() -> None:
    """Print the times and their ratio."""
    n_jobs, seconds, processor, hashing = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 25_000)
    print(f"plan of {n_jobs} jobs: {seconds:.2f} s, {processor:.2f} s of processor time")
    print(f"canonical JSON and sha256 of each job: {hashing:.2f} s; the plan takes {processor / hashing:.2f} of it")


if __name__ == "__main__":
    main()
