"""The files of fitted models: what may be kept, and what is taken out of an archive."""

import io
import json
import pickle
import stat
import zipfile

import numpy as np
import pytest
from pertharness.contract.errors import ContractError
from pertharness.worker.model_files import check_saved, pack_model, unpack_model
from pertharness.worker.refusals import refusal_of

REFUSE = refusal_of("toy", "save_model", "m")


def test_an_archive_holds_all_files_and_depends_on_their_content_alone(tmp_path):
    for name in ("first", "second"):
        folder = tmp_path / name
        (folder / "a" / "b").mkdir(parents=True)
        for path in ("z.json", "a/b/x.npy", "a/y.csv")[:: 1 if name == "first" else -1]:
            (folder / path).write_text(path)
        pack_model(folder, tmp_path / f"{name}.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    unpack_model(tmp_path / "first.zip", tmp_path / "out")
    files = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_text() for path in (tmp_path / "out").rglob("*.*")
    }
    assert files == {"z.json": "z.json", "a/b/x.npy": "a/b/x.npy", "a/y.csv": "a/y.csv"}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("/etc/x", stat.S_IFREG), ("../x", stat.S_IFREG), ("a/../../x", stat.S_IFREG), ("a\\..\\x", stat.S_IFREG),
        ("link", stat.S_IFLNK), ("folder/", stat.S_IFDIR), ("pipe", stat.S_IFIFO), ("plain", 0),
    ],
)  # fmt: skip
def test_an_archive_that_would_write_elsewhere_is_refused_before_anything_is_written(name, mode, tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for member, kind in (("good", stat.S_IFREG), (name, mode)):
            info = zipfile.ZipInfo(member)
            info.external_attr = (kind | 0o644) << 16
            archive.writestr(info, "../../target")
    with pytest.raises(ContractError, match=r"expected files below its folder, no links: fit it again"):
        unpack_model(tmp_path / "m.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", b"text"])
def test_a_damaged_archive_is_refused(damage, tmp_path):
    (tmp_path / "m.zip").write_bytes(damage)
    with pytest.raises(ContractError, match=r"the archive 'm\.zip' of a model is damaged"):
        unpack_model(tmp_path / "m.zip", tmp_path / "out")


def test_a_member_whose_bytes_changed_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "m.txt").write_text("content" * 10)
    pack_model(tmp_path / "in", tmp_path / "m.zip")
    content = (tmp_path / "m.zip").read_bytes()
    (tmp_path / "m.zip").write_bytes(content.replace(b"contentcontent", b"contentCONTENT", 1))
    with pytest.raises(ContractError, match="CRC"):
        unpack_model(tmp_path / "m.zip", tmp_path / "out")


def of_numpy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def zipped(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


OBJECTS = of_numpy(np.array([{"code": 1}], dtype=object), allow_pickle=True)
FIELDS = of_numpy(np.array([("KLF1", {"code": 1})], dtype=[("gene", "U4"), ("model", object)]), allow_pickle=True)
TEXT_OF_A_HEADER = np.array(["'descr': '|O'"], dtype="S13")


@pytest.mark.parametrize(
    "content", [*(pickle.dumps([1], protocol=number) for number in range(2, 6)), OBJECTS, zipped("m.npy", OBJECTS),
                FIELDS, zipped("m.npy", FIELDS), zipped("archive/data.pkl", b"whatever")],
)  # fmt: skip
def test_pickles_are_refused_by_the_name_of_their_file(content, tmp_path):
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(ContractError, match=r"plugin 'toy', hook save_model\('m'\): wrote 'model.bin' as a pickle"):
        check_saved(tmp_path, REFUSE)


@pytest.mark.parametrize(
    "content", [b"", json.dumps({"a": 1}).encode(), of_numpy(np.eye(3)), zipped("m.npy", of_numpy(np.eye(3))),
                of_numpy(np.array(["KLF1"])), of_numpy(TEXT_OF_A_HEADER)],
)  # fmt: skip
def test_plain_files_may_be_kept(content, tmp_path):
    (tmp_path / "model.bin").write_bytes(content)
    check_saved(tmp_path, REFUSE)


def test_links_and_empty_folders_are_refused(tmp_path):
    (tmp_path / "deep").mkdir()
    with pytest.raises(ContractError, match="left no file in 'folder'"):
        check_saved(tmp_path, REFUSE)
    (tmp_path / "deep" / "l").symlink_to(tmp_path)
    with pytest.raises(ContractError, match="left 'l', which is neither a file nor a folder"):
        check_saved(tmp_path, REFUSE)
