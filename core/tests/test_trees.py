"""Folders of any depth and with any permissions: looked through, measured and removed, and no link followed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from permissions import as_a_user
from pertharness.contract.jobs import Job, PluginRef
from pertharness.files.trees import remove_tree, unlock_folder, walk
from pertharness.host.execution.layout import lay_out
from pertharness.host.execution.nodes import Node
from pertharness.host.store.prune import prune
from pertharness.host.store.records import Store
from pertharness.host.store.space import Measure

DEPTH = 1500
"""More than a process may have calls in one another, or files open; with `LONG` names, 20 times PATH_MAX."""
LONG = "d" * 50


def dig(top: Path, depth: int = DEPTH) -> None:
    """Make folders in one another, as a process does that goes into each, and a file of 10 bytes at the bottom."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(LONG, dir_fd=here)
        inner = os.open(LONG, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    bottom = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(bottom, b"0123456789")
    os.close(bottom)
    os.close(here)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that pytest itself could not remove."""
    top = tmp_path / "deep"
    top.mkdir()
    dig(top)
    yield top
    subprocess.run(["rm", "-rf", str(top)], check=True)


def test_a_deep_folder_is_looked_through_measured_and_removed(deep: Path) -> None:
    entries = [(entry.name, len(entry.above)) for entry in walk(deep)]
    assert entries == [("file", DEPTH), *((LONG, depth) for depth in range(DEPTH - 1, -1, -1))]
    assert Measure().size(deep) == 10
    remove_tree(deep)
    assert not deep.exists()


def test_a_folder_is_looked_through_with_one_descriptor_and_leaves_none(tmp_path: Path) -> None:
    dig(tmp_path, 20)
    (tmp_path / "other").mkdir()

    def descriptors() -> list[str]:
        return sorted(path.name for path in Path("/dev/fd").iterdir())

    before = descriptors()
    for _ in walk(tmp_path):
        assert len(descriptors()) == len(before) + 1
    for _ in walk(tmp_path):
        break
    assert descriptors() == before


def test_what_is_in_a_folder_comes_before_it_with_the_way_to_it(tmp_path: Path) -> None:
    for name in ("a/b/c", "a/d", "e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths = ["/".join([*entry.above, entry.name]) for entry in walk(tmp_path)]
    assert sorted(paths) == ["a", "a/b", "a/b/c", "a/d", "e"]
    assert paths.index("a/b/c") < paths.index("a/b") < paths.index("a")
    assert list(walk(tmp_path / "e")) == list(walk(tmp_path / "nothing")) == []


def test_what_links_lead_to_is_neither_seen_nor_removed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x" * 1000)
    top = tmp_path / "top"
    (top / "in").mkdir(parents=True)
    for name, target in {"folder": kept, "file": kept / "file", "in/up": top, "nowhere": tmp_path / "x"}.items():
        (top / name).symlink_to(target)
    (top / "second").hardlink_to(kept / "file")
    (kept / "file").chmod(0o444)
    assert Measure().size(top) < 1000 + 4 * len(str(tmp_path)) + 100
    remove_tree(top / "folder")
    remove_tree(top)
    assert not top.exists()
    assert (kept / "file").read_text() == "x" * 1000
    assert (kept / "file").stat().st_mode & 0o777 == 0o444  # also under another name no mode was set


@pytest.mark.parametrize(
    "make",
    [lambda path: path.touch(), lambda path: path.symlink_to("/"), os.mkfifo, Path.mkdir, lambda path: None],
    ids=["file", "link", "pipe", "folder", "nothing"],
)
def test_whatever_is_there_is_removed(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "there")
    remove_tree(tmp_path / "there")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_moved_meanwhile_ends_the_walk(tmp_path: Path) -> None:
    """Its ``..`` is then another folder, in which nothing is to be removed."""
    (tmp_path / "top" / "a").mkdir(parents=True)
    (tmp_path / "top" / "a" / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(OSError, match="was moved while it was looked through"):
        for _ in walk(tmp_path / "top"):
            (tmp_path / "top" / "a").rename(tmp_path / "elsewhere" / "moved")


LOCKED = """
from pertharness.files.trees import remove_tree, walk
from pertharness.host.store.space import Measure
folder = top / "folder"
for number, mode in enumerate((0, 0o444, 0o111, 0o555)):
    (folder / f"{number}" / "in").mkdir(parents=True)
    (folder / f"{number}" / "file").write_text("12345")
    (folder / f"{number}" / "in").chmod(0)
    (folder / f"{number}").chmod(mode)
"""


def test_folders_that_their_owner_closed_are_removed() -> None:
    assert as_a_user(f"{LOCKED}folder.chmod(0)\nremove_tree(folder)\nprint(os.listdir(top))") == "[]\n"


def test_what_cannot_be_looked_into_is_named_and_counts_nothing() -> None:
    words = as_a_user(f"{LOCKED}print(sorted(each.name for each in walk(folder)), Measure().size(folder))")
    assert words == "['0', '1', '2', '3', 'file', 'in'] 5\n"
    closed = "from pertharness.files.trees import *\n"
    closed += "(top / 'closed' / 'in').mkdir(parents=True)\n(top / 'closed').chmod(0)\n"
    opened = "\n(top / 'closed').chmod(0o700)"
    assert as_a_user(f"{closed}print(list(walk(top / 'closed' / 'in'))){opened}") == "[]\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_what_cannot_be_removed_is_an_error_and_all_else_is_removed() -> None:
    """In a folder with the sticky bit only the owner of a file removes it."""
    words = as_a_user("""
from pertharness.files.trees import remove_tree
for name in ("a", "b/c", "d"):
    (top / "folder" / name).mkdir(parents=True)
(top / "folder" / "b").chmod(0o1777)
for name in ("b/c", "b"):
    os.chown(top / "folder" / name, 1, 1)
try:
    remove_tree(top / "folder")
except PermissionError as error:
    print(error.filename, os.listdir(top / "folder"))
""")
    assert words == "c ['b']\n"


def test_a_link_is_not_unlocked(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o500)
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "file").touch(mode=0o400)
    assert [unlock_folder(str(tmp_path / name)) for name in ("link", "file", "nothing")] == [False, False, False]
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o500
    assert unlock_folder(str(tmp_path / "folder"))
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700


# --- where jobs leave them


def node() -> Node:
    job = Job(key="0" * 64, stage="cards", plugin=PluginRef(name="p", module="p", version="1"))
    return Node(job=job, python=Path(sys.executable), title="card of p")


def test_a_job_is_laid_out_where_another_try_left_deep_folders(tmp_path: Path) -> None:
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
        dig(tmp_path / name)
    lay_out(node(), tmp_path, "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.json", "mechanism.txt", "scratch"]
    assert sum(not entry.is_folder for entry in walk(tmp_path / "scratch")) == 1  # kept, to resume
    remove_tree(tmp_path / "scratch")


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/"), os.mkfifo, lambda path: path.touch()])
def test_a_scratch_folder_that_is_none_is_not_kept(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "scratch")
    lay_out(node(), tmp_path, "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.json", "mechanism.txt"]


def test_a_job_is_laid_out_where_another_try_closed_its_folders() -> None:
    words = as_a_user(f"""
from pertharness.host.execution.layout import lay_out
from pertharness.host.execution.nodes import Node
from pertharness.contract.jobs import Job, PluginRef
job = Job(key="0" * 64, stage="cards", plugin=PluginRef(name="p", module="p", version="1"))
for name in ("out", "scratch"):
    (top / "work" / name).mkdir(parents=True)
    (top / "work" / name).chmod(0)
(top / "work").chmod(0)
lay_out(Node(job=job, python=Path({sys.executable!r}), title=""), top / "work", "none")
print(sorted(os.listdir(top / "work")), os.access(top / "work" / "scratch", os.X_OK))
""")
    assert words == "['job.json', 'mechanism.txt', 'scratch'] True\n"


def test_a_record_is_committed_and_pruned_whatever_deep_folders_are_in_it(tmp_path: Path) -> None:
    store, key = Store.open(tmp_path / "store"), "0" * 64
    for _ in range(2):  # the second takes the place of the first
        (store.work(key) / "scratch").mkdir(parents=True)
        dig(store.work(key) / "scratch")
        store.commit("predictions", key)
        assert list(store.record("predictions", key).iterdir()) == []
        dig(store.record("predictions", key))
    assert [path.name for path in (store.root / "work").iterdir()] == []
    pruned = prune(store, [], None, dry_run=False)
    assert pruned.removed["predictions"].n_bytes == 10
    assert not store.record("predictions", key).exists()
    assert not [path for path in (store.root / "work").iterdir() if path.is_dir()]


def test_a_record_that_its_owner_closed_is_pruned() -> None:
    words = as_a_user("""
from pertharness.host.store.prune import prune
from pertharness.host.store.records import Store
store = Store.open(top / "store")
for stage, key in (("predictions", "0" * 64), ("scores", "2" * 64)):
    (store.record(stage, key) / "x").mkdir(parents=True)
    store.record(stage, key).chmod(0)
(store.work("1" * 64) / "scratch").mkdir(parents=True)
store.work("1" * 64).chmod(0)
pruned = prune(store, [], None, dry_run=False)
print(pruned.skipped, [path for stage in ("predictions", "scores") for path in (store.root / stage).iterdir()])
print([path for path in (store.root / "work").iterdir() if path.is_dir()])
""")
    assert words == "[] []\n[]\n"
