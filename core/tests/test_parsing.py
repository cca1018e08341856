"""Any text in place of a card, a job or a status is told as a mistake, never a traceback."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.cards import Card
from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import Job, PluginRef, Status
from pertharness.host.store.records import Store, read_job, read_status
from pertharness.worker.main import USAGE, main
from pydantic import ValidationError

JOB = Job(key="k", stage="cards", plugin=PluginRef(name="p", module="m", version="1"))
STATUS = Status(key="k", state="done")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SPOILT = st.one_of(
    st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=64),
    JSON.map(lambda value: json.dumps(value).encode()),
)


def spoil(valid: dict[str, Any], field: str, value: Any) -> bytes:
    return json.dumps({**valid, field: value}).encode()


def texts(model: Job | Status) -> st.SearchStrategy[bytes]:
    """Return any bytes, and the text of a whole file in which one field is something else or one too many."""
    valid = model.model_dump(mode="json")
    fields = st.sampled_from([*valid, "another"])
    return SPOILT | st.builds(lambda field, value: spoil(valid, field, value), fields, JSON)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("record")


@settings(max_examples=50, deadline=None)
@given(text=texts(JOB))
def test_any_job_file_is_a_job_or_a_message(folder: Path, text: bytes) -> None:
    (folder / "job.json").write_bytes(text)
    with contextlib.suppress(StoreError):
        assert isinstance(read_job(folder), Job)


@settings(max_examples=50, deadline=None)
@given(text=texts(STATUS))
def test_any_status_file_is_a_status_or_no_record(folder: Path, text: bytes) -> None:
    (folder / "status.json").write_bytes(text)
    status = read_status(folder, "k")
    assert status is None or status.key == "k"


@settings(max_examples=50, deadline=None)
@given(text=SPOILT)
def test_any_card_is_a_card_or_a_validation_error(text: bytes) -> None:
    with contextlib.suppress(ValidationError):
        assert isinstance(Card.model_validate_json(text), Card)


@settings(max_examples=20, deadline=None)
@given(text=SPOILT)
def test_a_worker_tells_what_is_no_job(folder: Path, text: bytes) -> None:
    (folder / "job.json").write_bytes(text)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main([str(folder / "job.json")]) == USAGE
    assert "not a job file" in said.getvalue()


@settings(max_examples=30, deadline=None)
@given(key=st.text(max_size=10))
def test_any_key_finds_a_record_or_says_that_there_is_none(folder: Path, key: str) -> None:
    with contextlib.suppress(StoreError):
        Store.open(folder / "store").find(key)
