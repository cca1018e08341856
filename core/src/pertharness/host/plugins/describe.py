"""The cards of plugins: requested in the plugins' own interpreters, and kept in the user's cache folder.

A card is asked for as a job is carried out, sandboxed and with a limit of time, but it is no part of a run: what is
kept is a memory, which may be deleted at any time. Its name is a hash of all that identifies a plugin and its state, so
that every change of a plugin leaves a card behind; what was not read for long is removed when another card is kept.
Beside a card lies what its plugin compiled meanwhile (`pertharness.host.execution.caches`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from pertharness.contract.cards import Card
from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import Job, describe_invalid
from pertharness.contract.stages import CARD
from pertharness.files.trees import remove_tree
from pertharness.host.execution.caches import CACHES
from pertharness.host.execution.executor import Executor
from pertharness.host.execution.layout import STRENGTH
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.execution.runner import Runner
from pertharness.host.packages.fingerprint import worker_hash
from pertharness.host.packages.installed import Plugin, Problem
from pertharness.host.store.hashes import Sums
from pertharness.host.store.keys import key_of, key_parts
from pertharness.host.store.leases import take_lease
from pertharness.host.store.records import Store, read_status
from pertharness.version import __version__

TIMEOUT_S = 120.0
"""Time limit of one card, which includes imports of large libraries from a slow disk."""
UNUSED_S = 90 * 86400.0
"""A card that no command has read for so long is removed."""
_DESCRIBING = "describing-"
"""Prefix of folders in which cards are made, next to the kept cards."""


def cache_folder() -> Path:
    """Return the folder of data kept between commands: ``PERTHARNESS_CACHE``, or in the user's cache folder."""
    import platformdirs

    named = os.environ.get("PERTHARNESS_CACHE") or platformdirs.user_cache_dir("pertharness")
    return Path(named).expanduser().absolute()


def caches_of(plugin: Plugin) -> Path:
    """Return the file with a plugin's compile caches, if its card job left any."""
    return _kept(_card_job(plugin).key) / CACHES


def read_cards(plugins: Mapping[str, Plugin], *, isolation: str = "auto") -> dict[str, Card | Problem]:
    """Return the card of each plugin, or why there is none, by name.

    Cards that are not kept are requested, several at a time, even if they cannot be kept. A card that failed is
    requested again every time, because the cause may be outside the plugin.

    Parameters
    ----------
    plugins
        By name.
    isolation
        As of jobs: a card that was made with less than what is named here is made again.

    Raises
    ------
    RecipeError
        If this machine has not that isolation.
    StoreError
        If neither the cache folder nor that for temporary files has room, or a plugin was changed meanwhile.
    """
    executor = local_executor(cache_folder(), slots=os.cpu_count() or 1, isolation=isolation)
    nodes = {name: _card_node(plugin) for name, plugin in plugins.items()}
    sums = Sums(cache_folder())
    for node in nodes.values():
        with contextlib.suppress(OSError):  # absent, or of a user who may not change it
            os.utime(_kept(node.key))  # before it is read, so that no other command removes it as unused
    cards = {
        name: _read_card(_kept(node.key), node) for name, node in nodes.items() if _is_kept(node.key, executor, sums)
    }
    sums.save()
    missing = {name: node for name, node in nodes.items() if name not in cards}
    return cards | (_ask_all(missing, executor) if missing else {})


def _ask_all(nodes: Mapping[str, Node], executor: Executor) -> dict[str, Card | Problem]:
    """Request cards in a folder next to the kept ones, or among temporary files if none can be made there."""
    try:
        with _working_folder(cache_folder()) as folder:
            return _ask(nodes, executor, folder)
    except (OSError, StoreError):  # what is missing in the cache folder is an error there, too
        with tempfile.TemporaryDirectory(prefix="pertharness-cards-") as folder:
            return _ask(nodes, executor, Path(folder))


def _ask(nodes: Mapping[str, Node], executor: Executor, folder: Path) -> dict[str, Card | Problem]:
    store = Store.open(folder)
    outcomes = Runner(store, executor).run(nodes.values())
    cards = {}
    for name, node in nodes.items():
        record, outcome = store.record("cards", node.key), outcomes[node.key]
        cards[name] = _read_card(record, node) if outcome.state == "done" else _problem(node, outcome)
        if outcome.state == "done":
            _keep(record, node.key, executor)
    _remove_unused()
    return cards


def _read_card(record: Path, node: Node) -> Card | Problem:
    try:
        return Card.model_validate_json((record / CARD).read_bytes())
    except ValidationError as error:  # written by another version of pertharness, in the plugin's environment
        why = f"its card cannot be read by pertharness {__version__}: {describe_invalid(error)}"
        return Problem(node.job.plugin.name, "invalid", why)


def _problem(node: Node, outcome: Outcome) -> Problem:
    return Problem(node.job.plugin.name, outcome.state, outcome.message)


def _kept(key: str) -> Path:
    return cache_folder() / "cards" / key


def _is_kept(key: str, executor: Executor, sums: Sums | None = None) -> bool:
    """Return whether a complete card is kept, made with at least the requested isolation."""
    status = read_status(_kept(key), key, sums)
    if status is None or status.isolation is None:
        return status is not None
    return STRENGTH[status.isolation.mechanism] >= STRENGTH[executor.least]


def _keep(record: Path, key: str, executor: Executor) -> None:
    """Move a job's results to the kept cards, if possible and unless another command was first."""
    with contextlib.suppress(OSError):
        target = _kept(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if _is_kept(key, executor):
            return
        remove_tree(target)
        record.rename(target)


def _remove_unused() -> None:
    """Remove the cards that no command has read for long, with the compile caches beside them."""
    since = time.time() - UNUSED_S
    for path in (cache_folder() / "cards").glob("*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < since:
                remove_tree(path)


@contextlib.contextmanager
def _working_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder inside another and remove it afterwards, with those that killed commands left."""
    for path in [path for path in parent.glob(f"{_DESCRIBING}*") if path.is_dir()]:
        if stale_lease := take_lease(path.with_suffix(".lock")):
            remove_tree(path)
            stale_lease.release()
    folder = parent / f"{_DESCRIBING}{uuid.uuid4().hex}"
    lease = take_lease(folder.with_suffix(".lock"))
    try:
        folder.mkdir()
        yield folder
    finally:
        with contextlib.suppress(OSError):
            remove_tree(folder)
        if lease is not None:
            lease.release()


def _card_job(plugin: Plugin) -> Job:
    # With all that identifies it, also where it is the core's own: no other key depends on a card's.
    # A card that another state of the harness wrote may lack a field, or have one that this state does not know.
    parts = key_parts("cards", plugin.identity(), {"worker": _own_hash()})
    job = Job(key="", stage="cards", plugin=plugin.ref, key_parts=parts)
    return job.model_copy(update={"key": key_of(job)})


def _card_node(plugin: Plugin) -> Node:
    job = _card_job(plugin)
    title = f"card of {plugin.ref.name}"
    return Node(job=job, python=plugin.python, title=title, timeout_s=TIMEOUT_S, sources=plugin.sources)


@functools.cache
def _own_hash() -> str:
    """Return the hash of the harness's own worker side, hashed once."""
    return worker_hash()
