"""Checkpoints: each published key is accounted for, and no file that is something else is taken for weights."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
from pertharness_foundation.checkpoint import (
    CheckpointError,
    KeyRules,
    load_state,
    read_checkpoint,
    read_state_dict,
)
from pertharness_foundation.tiny import random_state, write_safetensors, write_torch

torch = pytest.importorskip("torch")
RULES = KeyRules(loads=("encoder.*",), ignores=("old.*",), fresh=("head.*",))


class Small(torch.nn.Module):
    """Two layers: one that is loaded, one that starts fresh."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(3, 2)
        self.head = torch.nn.BatchNorm1d(2)


@pytest.fixture
def published():
    return {
        "encoder.weight": torch.arange(6.0).reshape(2, 3), "encoder.bias": torch.ones(2), "old.weight": torch.zeros(9),
    }  # fmt: skip


def load(published, rules=RULES, **more):
    module = Small()
    return module, load_state(module, published, rules, source="model.pt", **more)


def test_every_key_is_counted(published):
    module, counts = load(published)
    assert torch.equal(module.encoder.weight, published["encoder.weight"])
    assert (counts.loaded, counts.ignored, counts.fresh) == (2, 1, 5)
    assert counts.note() == "weights: 2 tensors loaded, 1 ignored, 5 fresh"


def test_a_fresh_key_keeps_the_value_that_the_model_began_with(published):
    module = Small()
    before = {key: value.clone() for key, value in module.head.state_dict().items()}
    load_state(module, published, RULES, source="model.pt")
    assert all(torch.equal(value, before[key]) for key, value in module.head.state_dict().items())


def test_published_keys_are_renamed(published):
    published["Encoder.weight"] = published.pop("encoder.weight")
    rules = KeyRules(("?ncoder.*",), ("old.*",), ("head.*",), rename=str.lower)
    module, _ = load(published, rules)
    assert torch.equal(module.encoder.weight, published["Encoder.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update({"flag.weight": torch.ones(2, 5)}), r"has 'flag.weight' \[2, 5\], which the published"),
        (lambda p: p.pop("encoder.bias"), r"model.pt lacks 'encoder.bias' \[2\], which the model loads"),
        (lambda p: p.update({"encoder.bias": torch.ones(3)}), r"'encoder.bias' \[3\] in place of \[2\]; .*other size"),
        (lambda p: p.update({"encoder.bias": torch.ones(2).long()}), "of torch.int64 in place of torch.float32"),
        (lambda p: p.update({"encoder.bias": torch.tensor([1, torch.nan])}), "no finite number in 'encoder.bias'"),
        (lambda p: p.update({"encoder.gain": torch.ones(2)}), r"'encoder.gain' \(as 'encoder.gain'\), which"),
    ],
    ids=["outside the lists", "missing", "misshapen", "of another kind", "not finite", "not in the model"],
)  # fmt: skip
def test_a_key_that_does_not_fit_is_named_and_nothing_is_loaded(published, change, message):
    change(published)
    module = Small()
    before = module.encoder.weight.clone()
    with pytest.raises(CheckpointError, match=message):
        load_state(module, published, RULES, source="model.pt")
    assert torch.equal(module.encoder.weight, before)


def test_many_keys_are_counted_and_the_first_shown(published):
    published |= {f"new.{i}": torch.ones(1) for i in range(20)}
    with pytest.raises(CheckpointError, match=r"'new.4' \[1\] and 15 more"):
        load(published)


def test_two_published_keys_for_one_are_an_error(published):
    published["ENCODER.weight"] = published["encoder.weight"]
    rules = KeyRules(("?NCODER.*", "encoder.*"), ("old.*",), ("head.*",), rename=str.lower)
    with pytest.raises(CheckpointError, match=r"both 'encoder.weight' and 'ENCODER.weight' for 'encoder.weight'"):
        load(published, rules)


def test_rules_that_load_a_key_and_start_it_fresh_are_an_error(published):
    with pytest.raises(ValueError, match=r"load 'encoder.weight', 'encoder.bias' and start the same fresh"):
        load(published, KeyRules(("encoder.*",), ("old.*",), ("head.*", "encoder.*")))


def test_assigned_tensors_are_the_files_own_and_fill_the_meta_device(published):
    with torch.device("meta"):
        module = Small()
    load_state(module, published, RULES, source="model.pt", assign=True)
    assert module.encoder.weight.data_ptr() == published["encoder.weight"].data_ptr()
    published["encoder.bias"] = published["encoder.bias"].half()
    with pytest.raises(CheckpointError, match=r"torch.float16 in place of torch.float32"):
        load(published, assign=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_of_both_formats_are_read(tmp_path, published, legacy):
    path = tmp_path / "weights.bin"
    torch.save(published, path, _use_new_zipfile_serialization=not legacy)
    assert torch.equal(read_state_dict(path)["encoder.weight"], published["encoder.weight"])


def test_safetensors_are_told_by_content_not_by_name(tmp_path, published):
    write_safetensors(tmp_path / "weights.pt", published)
    assert torch.equal(read_state_dict(tmp_path / "weights.pt")["encoder.weight"], published["encoder.weight"])


def test_tensors_of_a_torch_file_stay_in_the_file(tmp_path):
    write_torch(tmp_path / "big.pt", {"table": torch.zeros(1 << 24)})  # 64 MiB
    with Path("/proc/self/statm").open() as file:
        before = int(file.read().split()[1])
    table = read_state_dict(tmp_path / "big.pt")["table"]
    with Path("/proc/self/statm").open() as file:
        grown = (int(file.read().split()[1]) - before) * os.sysconf("SC_PAGE_SIZE")
    assert table.shape == (1 << 24,)
    assert grown < 16 << 20


def test_a_state_dict_within_the_file_is_reached_by_keys_and_its_prefix_taken_off(tmp_path, published):
    inner = {f"model.{key}": value for key, value in published.items()}
    write_torch(tmp_path / "m.ckpt", {"gene": {"config": {"depth": 2, "names": ["a"]}, "state_dict": inner}})
    state = read_state_dict(tmp_path / "m.ckpt", at=("gene", "state_dict"), prefix="model.")
    assert list(state) == list(published)
    with pytest.raises(CheckpointError, match=r"\['gene'\] holds the keys 'config', 'state_dict'; expected 'weights'"):
        read_state_dict(tmp_path / "m.ckpt", at=("gene", "weights"))
    with pytest.raises(CheckpointError, match=r"holds more than tensors: 'gene'; expected a state dict"):
        read_state_dict(tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError, match=r"the keys 'model.encoder.weight', .* do not begin with 'net\.'"):
        read_state_dict(tmp_path / "m.ckpt", at=("gene", "state_dict"), prefix="net.")


def whole_file(tmp_path, *, legacy=False, safetensors=False):
    path = tmp_path / "whole"
    state = random_state(torch.nn.Linear(50, 50), 0)
    if safetensors:
        write_safetensors(path, state)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path.read_bytes()


@pytest.mark.parametrize("kind", [{}, {"legacy": True}, {"safetensors": True}], ids=["torch", "legacy", "safetensors"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_a_truncated_file_is_no_checkpoint(tmp_path, kind, part):
    content = whole_file(tmp_path, **kind)
    (tmp_path / "best_model.pt").write_bytes(content[: int(part * len(content))])
    with pytest.raises(CheckpointError, match=r"best_model.pt .*fetch it again"):
        read_checkpoint(tmp_path / "best_model.pt")


def test_a_damaged_archive_is_no_checkpoint(tmp_path):
    content = bytearray(whole_file(tmp_path))
    with zipfile.ZipFile(tmp_path / "whole") as archive:
        start = archive.getinfo("whole/data.pkl").header_offset
    content[start + 70 : start + 110] = b"\xff" * 40
    (tmp_path / "best_model.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best_model.pt "):
        read_checkpoint(tmp_path / "best_model.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\): its download did not finish"),
        (b"\0" * 5000, r"is empty \(5000 bytes\)"),
        (b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning", "is a web page.*open the link in a browser"),
        (b"\n\n  <HTML><body>Sign in", "is a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4365\nsize 152012980\n", "git lfs pull"),
        (b"\x1f\x8b\x08\0\0\0", r"begins with b'\\x1f\\x8b.*an archive to be unpacked first"),
        (b"cell,gene\n1,2\n", "neither a torch file, nor safetensors, nor a pickle"),
        (b'{"error": "not found"}', "neither a torch file, nor safetensors, nor a pickle"),
        (pickle.dumps({"weights": [1.0, 2.0]}), "is a plain pickle, not a file of weights.*can run any code"),
        (pickle.dumps({"weights": [1.0, 2.0]}, 0), "is a plain pickle"),
    ],
    ids=["empty", "zeros", "drive", "login", "xml", "lfs", "gzip", "csv", "json", "pickle", "old pickle"],
)  # fmt: skip
def test_another_file_in_its_place_is_told_with_what_to_do(tmp_path, content, message):
    (tmp_path / "best_model.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "best_model.pt")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"best_model.pt: No such file .*expected a file at '/"):
        read_checkpoint(tmp_path / "best_model.pt")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_torch_file_is_run(tmp_path, legacy):
    mark = tmp_path / "run"
    torch.save({"w": torch.ones(2), "more": Trap(mark)}, tmp_path / "t.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"t.pt holds more than tensors .* not opened"):
        read_checkpoint(tmp_path / "t.pt")
    assert not mark.exists()


def test_nothing_in_a_pickle_is_run(tmp_path):
    mark = tmp_path / "run"
    (tmp_path / "t.pt").write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(CheckpointError, match="can run any code, and is not opened"):
        read_checkpoint(tmp_path / "t.pt")
    assert not mark.exists()


def test_a_torch_file_that_is_damaged_anywhere_is_an_error_that_says_so(tmp_path, published):
    whole, damaged = tmp_path / "whole.pt", tmp_path / "damaged.pt"
    write_torch(whole, published)
    with zipfile.ZipFile(whole) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    [listing] = [name for name in members if name.endswith("data.pkl")]
    for end in range(len(members[listing])):
        with zipfile.ZipFile(damaged, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content[:end] if name == listing else content)
        with pytest.raises(CheckpointError, match=r"damaged.pt .*fetch it again"):
            read_checkpoint(damaged)
