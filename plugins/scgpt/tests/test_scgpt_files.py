"""Files that are not the published ones: each is refused, with what to do."""

import json
import pickle

import pytest
from pertharness import DataError
from pertharness.testing.planted import GENES
from pertharness_scgpt.weights import Files, find_files

torch = pytest.importorskip("torch", reason="needs the plugin's environment")
from pertharness_scgpt.network import Network, read_sizes  # noqa: E402
from pertharness_scgpt.settings import FileNames  # noqa: E402
from pertharness_scgpt.tiny import write_tiny  # noqa: E402
from pertharness_scgpt.weights import read_published  # noqa: E402

PAGE = b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>"


@pytest.fixture
def tiny(tmp_path):
    return write_tiny(tmp_path, GENES)


def load(files, decoder="fresh"):
    published = read_published(files)
    return published.load_into(Network(published.sizes), decoder)


def changed(files, change):
    state = torch.load(files.checkpoint, weights_only=True)
    change(state)
    torch.save(state, files.checkpoint)
    return files


def test_the_tiny_files_are_as_the_published_ones(tiny):
    assert load(tiny).note() == "weights: 33 tensors loaded, 10 ignored, 22 fresh"
    rows = json.loads(tiny.vocabulary.read_text())
    assert list(rows.values()) != sorted(rows.values())
    assert sorted(rows.values()) == list(range(len(GENES) + 3))


def test_a_truncated_checkpoint_is_refused(tiny):
    tiny.checkpoint.write_bytes(tiny.checkpoint.read_bytes()[:10_000])
    with pytest.raises(DataError, match=r"best_model.pt is the beginning of a torch file.*fetch it again"):
        load(tiny)


def test_a_pickle_is_not_executed(tiny, tmp_path):
    class Run:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w').close()",)

    for write in (lambda: tiny.checkpoint.write_bytes(pickle.dumps(Run())), lambda: torch.save(Run(), tiny.checkpoint)):
        write()
        with pytest.raises(DataError, match="run"):
            load(tiny)
    assert not (tmp_path / "ran").exists()


def test_a_web_page_in_the_place_of_a_file_is_named_with_the_steps(tiny):
    for path in (tiny.checkpoint, tiny.vocabulary, tiny.arguments):
        before = path.read_bytes()
        path.write_bytes(PAGE)
        with pytest.raises(DataError, match=rf"{path.name} is a web page.* in a browser, press Download"):
            load(tiny)
        path.write_bytes(before)


def test_keys_that_are_unknown_missing_or_misshapen_are_named(tiny):
    before = tiny.checkpoint.read_bytes()
    cases = [
        (
            lambda state: state.update({"encoder.more": torch.zeros(3)}),
            "'encoder.more' .*which the model",
        ),
        (lambda state: state.update({"head.weight": torch.zeros(3)}), r"'head.weight' \[3\]"),
        (
            lambda state: state.update({"encoder.embedding.weight": torch.tensor(1.0)}),
            r"'encoder.embedding.weight' \[\] in place of \[43, 16\]",
        ),
        (lambda state: state.pop("value_encoder.norm.bias"), r"lacks 'value_encoder.norm.bias' \[16\]"),
        (
            lambda state: state.update({"value_encoder.norm.bias": torch.zeros(8)}),
            r"'value_encoder.norm.bias' \[8\] in place of \[16\]",
        ),
    ]
    for change, message in cases:
        tiny.checkpoint.write_bytes(before)
        with pytest.raises(DataError, match=message):
            load(changed(tiny, change))


def test_a_checkpoint_without_the_decoder_is_refused_only_where_it_is_loaded(tiny):
    changed(tiny, lambda state: [state.pop(key) for key in list(state) if key.startswith("decoder.")])
    assert load(tiny).loaded == 33
    with pytest.raises(DataError, match=r"lacks 'decoder.fc.0.weight'"):
        load(tiny, "checkpoint")


def test_a_vocabulary_of_another_version_is_refused(tiny):
    rows = json.loads(tiny.vocabulary.read_text())
    tiny.vocabulary.write_text(json.dumps({**rows, "NEW1": len(rows)}))
    with pytest.raises(DataError, match=r"vocab.json has 44 tokens and best_model.pt 43: .*another version"):
        load(tiny)
    for content, message in (
        ({**rows, "KLF1": 40}, "rows are not 0 to 42, each once"),
        ({**rows, "KLF1": "0"}, "gives 'KLF1' the row '0'; expected a whole number"),
        ([1], "holds a list; expected an object"),
    ):
        tiny.vocabulary.write_text(json.dumps(content))
        with pytest.raises(DataError, match=message):
            load(tiny)


def test_special_tokens_that_a_vocabulary_lacks_are_appended(tiny):
    rows = json.loads(tiny.vocabulary.read_text())
    specials = ("<pad>", "<cls>", "<eoc>")
    tiny.vocabulary.write_text(json.dumps({token: row for token, row in rows.items() if token not in specials}))
    vocabulary = read_published(tiny).vocabulary
    assert [vocabulary.rows[token] for token in specials] == [40, 41, 42]
    assert vocabulary.padding == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embsize": None}, "args.json has embsize None; expected a positive whole number"),
        ({"nlayers": 0}, "args.json has nlayers 0"),
        ({"nheads": 3}, "embsize 16 is no multiple of nheads 3"),
    ],
)
def test_arguments_that_make_no_network_are_refused(tiny, change, message):
    args = {**json.loads(tiny.arguments.read_text()), **change}
    tiny.arguments.write_text(json.dumps(args))
    with pytest.raises(DataError, match=message):
        read_sizes(args, tokens=43, padding=40)
    with pytest.raises(DataError, match=message):
        load(tiny)


def test_a_checkpoint_of_another_size_is_not_taken_for_the_published_one(tiny):
    there = {path.name: path for path in (tiny.checkpoint, tiny.vocabulary, tiny.arguments)}
    with pytest.raises(DataError, match=r"are not the published whole-human checkpoint: .*width=16.*expected .*=512"):
        read_published(find_files(there, FileNames()))
    own = FileNames(checkpoint=str(tiny.checkpoint))
    assert read_published(find_files(there, own)).sizes.width == 16
    assert Files(tiny.checkpoint, tiny.vocabulary, tiny.arguments).own
