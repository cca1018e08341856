"""Files that are not the published ones: each is refused, with what to do."""

import json
import pickle

import numpy as np
import pytest
from pertharness import DataError
from pertharness.testing.planted import GENES

torch = pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")

from pertharness_uce.genes import choose_genes  # noqa: E402
from pertharness_uce.symbols import read_symbols  # noqa: E402
from pertharness_uce.tiny import write_tiny  # noqa: E402
from pertharness_uce.vocabulary import read_chromosomes, read_offset, read_vocabulary  # noqa: E402
from pertharness_uce.weights import TABLE, find_files, read_published  # noqa: E402

PAGE = b"<!DOCTYPE html><html><head><title>figshare</title></head></html>"


@pytest.fixture
def tiny(tmp_path):
    return write_tiny(tmp_path, GENES)


def load(files):
    return read_published("uce", files)


def changed(files, change):
    state = torch.load(files.checkpoint, weights_only=True)
    change(state)
    torch.save(state, files.checkpoint)
    return files


class Run:
    """What runs code when a pickle of it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def test_the_tiny_files_are_as_the_published_ones(tiny):
    published = load(tiny)
    assert published.note == (
        "weights: 43 tensors loaded, 18 ignored, and the rows that are needed of the 54 of the token table"
    )
    # 4 special tokens, 3 genes of the mouse, 40 human genes, 4 and 3 chromosomes.
    assert published.vocabulary.tokens["KLF1"] == 7
    assert (published.first_chromosome, published.vocabulary.n_chromosomes) == (47, 7)


@pytest.mark.parametrize("part", [0.3, 0.9])
@pytest.mark.parametrize("name", ["checkpoint", "symbols"])
def test_a_truncated_torch_file_is_refused(tiny, name, part):
    path = getattr(tiny, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=rf"{path.name} is the beginning of a torch file.*fetch it again"):
        load(tiny)


def test_a_web_page_or_nothing_in_the_place_of_a_file_is_named(tiny):
    for path in (tiny.checkpoint, tiny.symbols, tiny.chromosomes, tiny.offsets):
        before = path.read_bytes()
        path.write_bytes(PAGE)
        with pytest.raises(DataError, match=rf"{path.name} is a web page"):
            load(tiny)
        path.write_bytes(b"")
        with pytest.raises(DataError, match=path.name):
            load(tiny)
        path.write_bytes(before)


def test_nothing_in_a_file_is_executed(tiny, tmp_path):
    ran = tmp_path / "ran"
    for path in (tiny.checkpoint, tiny.symbols):
        before = path.read_bytes()
        for save in (torch.save, lambda content, to: to.write_bytes(pickle.dumps(content))):
            save({"KLF1": Run(ran)}, path)
            with pytest.raises(DataError):
                load(tiny)
        path.write_bytes(before)
    tiny.offsets.write_bytes(pickle.dumps({"human": Run(ran)}))
    with pytest.raises(DataError, match="which would be run"):
        load(tiny)
    assert not ran.exists()


def test_keys_that_are_unknown_missing_or_misshapen_are_named(tiny):
    before = tiny.checkpoint.read_bytes()
    cases = [
        (lambda state: state.update({"head.weight": torch.zeros(3)}), r"'head.weight' \[3\]"),
        (lambda state: state.pop("decoder.1.1.bias"), r"lacks 'decoder.1.1.bias' \[40\]"),
        (lambda state: state.pop("encoder.0.weight"), "lacks 'encoder.0.weight'.* no checkpoint of UCE"),
        (lambda state: state.pop(TABLE), rf"expected '{TABLE}' .* the file lacks it"),
        (lambda state: state.update({TABLE: torch.zeros(54, 23)}), r"has it as \[54, 23\]"),
        (lambda state: state.update({TABLE: torch.zeros(54, 24).half()}), "torch.float16; it is another checkpoint"),
        (lambda state: state.update({"encoder.2.bias": torch.zeros(8)}), r"'encoder.2.bias' \[8\] in place of \[40\]"),
        (lambda state: state.update({"encoder.2.bias": torch.full((40,), torch.nan)}), "no finite number"),
        (lambda state: state.update({"encoder.0.weight": torch.zeros(30, 24)}), "a width of 30, .* of 20 heads"),
    ]
    for change, message in cases:
        tiny.checkpoint.write_bytes(before)
        with pytest.raises(DataError, match=message):
            load(changed(tiny, change))


def test_a_row_of_the_table_that_is_no_number_is_found_when_it_is_read(tiny):
    def spoil(state):
        state[TABLE][9, 3] = torch.inf

    published = load(changed(tiny, spoil))
    assert len(published.rows(torch.tensor([7, 8, 10]))) == 3
    with pytest.raises(DataError, match=rf"row 9 of '{TABLE}' has values that are no finite number"):
        published.rows(torch.tensor([7, 9]))


def test_files_of_different_versions_are_refused(tiny):
    before = {path: path.read_bytes() for path in (tiny.symbols, tiny.chromosomes, tiny.offsets)}
    rows = tiny.chromosomes.read_text().splitlines()
    cases = [
        (tiny.symbols, {name: torch.zeros(25) for name in GENES}, "vectors of 25 numbers, .* tokens of 24"),
        (tiny.symbols, {f"G{n}": torch.zeros(24) for n in range(60)}, "has 54 tokens, .* all up to 66: .* versions"),
        (tiny.chromosomes, "\n".join([*rows, *(f"9,rat,G,{n},1" for n in range(3))]), "needs 10 for chromosomes"),
        (tiny.offsets, {"mouse": 4, "human": 12}, "all up to 51: .* different versions"),
        (tiny.offsets, {"human": 7, "pig": 30}, "has 40 symbols, and species_offsets.pkl has room for 23 of 'human'"),
    ]
    for path, content, message in cases:
        for other, text in before.items():
            other.write_bytes(text)
        if isinstance(content, str):
            path.write_text(content)
        elif path == tiny.offsets:
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path)
        with pytest.raises(DataError, match=message):
            load(tiny)


def test_a_checkpoint_of_another_size_is_not_taken_for_the_published_one(tiny):
    there = {path.name: path for path in (tiny.checkpoint, tiny.symbols, tiny.chromosomes, tiny.offsets)}
    from pertharness_uce.settings import FileNames

    with pytest.raises(DataError, match=r"uce: 4layer_model.torch .* not the published files: .*width=40.*width=1280"):
        read_published("uce", find_files("uce", there, FileNames()))
    own = FileNames(checkpoint=str(tiny.checkpoint))
    assert read_published("uce", find_files("uce", there, own)).network.sizes.width == 40


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, or values of another kind; expected a dict of"),
        ({"human": "7"}, "values of another kind"),
        ({"mouse": 7}, r"has no 'human' \(species: 'mouse'\); it is of another version"),
        ({"human": 2}, "has the first token 2 for 'human'; expected 4 or more"),
    ],
)
def test_offsets_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "species_offsets.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        read_offset(path)


def test_offsets_as_numbers_of_numpy(tmp_path):
    path = tmp_path / "species_offsets.pkl"
    path.write_bytes(pickle.dumps({"human": np.int64(7), "pig": np.int64(90), "frog": 4, "mouse": 50}))
    assert read_offset(path) == (7, 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read as a pickle"):
        read_offset(path)


TABLE_OF_PLACES = """,species,gene_symbol,chromosome,start,end
0,human,KLF1,19,12,20
1,human,GATA1,X,7,9
2,human,klf1,1,99,100
3,human,lost,,5,6
4,mouse,Klf1,8,3,4
5,human,TP53,2,8,9
"""


def test_codes_are_ranks_of_species_and_chromosome_as_text(tmp_path):
    path = tmp_path / "species_chrom.csv"
    path.write_text(TABLE_OF_PLACES)
    # human_1, human_19, human_2, human_X, mouse_8; the first row of a symbol counts, one without a chromosome does not.
    assert read_chromosomes(path) == ({"KLF1": (1, 12), "GATA1": (3, 7), "TP53": (2, 8)}, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("start", "begin"), "has no column 'start' .*of another version"),
        (lambda text: text.replace("human", "ape"), r"has no genes of 'human' \(species: 'ape', 'mouse'\)"),
        (lambda text: text.replace(",12,20", ",here,20"), "has the start 'here'; expected a position"),
        (lambda text: text + '7,"human', "cannot be read as a table"),
        (lambda text: "", "cannot be read as a table"),
    ],
    ids=["column", "species", "start", "torn", "empty"],
)
def test_a_table_of_chromosomes_of_another_version(tmp_path, change, message):
    path = tmp_path / "species_chrom.csv"
    path.write_text(change(TABLE_OF_PLACES))
    with pytest.raises(DataError, match=message):
        read_chromosomes(path)


def test_a_gene_with_a_token_and_without_a_place_is_an_error(tiny):
    rows = tiny.chromosomes.read_text().splitlines()
    tiny.chromosomes.write_text("\n".join(row for row in rows if ",GATA1," not in row))
    vocabulary = read_vocabulary(tiny.symbols, tiny.chromosomes, tiny.offsets)
    with pytest.raises(DataError, match=r"species_chrom.csv has no human 'GATA1', and 0 more of 40 genes"):
        choose_genes(GENES, None, vocabulary, 47)
    assert len(choose_genes([gene for gene in GENES if gene != "GATA1"], None, vocabulary, 47).columns) == 39


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_symbols_are_read_in_their_order_and_no_vector_is(tmp_path, legacy, monkeypatch):
    path = tmp_path / "embeddings.pt"
    names = ["TP53", "A1BG", "klf1", "KLF1"]
    torch.save({name: torch.randn(6) for name in names}, path, _use_new_zipfile_serialization=not legacy)
    monkeypatch.setattr(torch, "load", None)
    symbols = read_symbols(path)
    assert (symbols.names, symbols.width) == (tuple(names), 6)


def test_symbols_that_clash_in_upper_case_share_the_first_token(tiny):
    torch.save({name: torch.zeros(24) for name in ("A", "klf1", "B", "KLF1")}, tiny.symbols)
    vocabulary = read_vocabulary(tiny.symbols, tiny.chromosomes, tiny.offsets)
    assert vocabulary.tokens == {"A": 7, "KLF1": 8, "B": 9}
    assert vocabulary.clashes == ("KLF1",)
    notes = choose_genes(["KLF1"], None, vocabulary, 47).notes
    assert notes[1] == "symbols: 1 are the same as an earlier one in upper case, such as 'KLF1', and share its token"


def test_a_list_of_symbols_serves_as_well(tiny):
    tiny.symbols.with_suffix(".txt").write_text("\n".join(GENES) + "\n")
    assert read_symbols(tiny.symbols.with_suffix(".txt")).names == tuple(GENES)
    from dataclasses import replace

    assert load(replace(tiny, symbols=tiny.symbols.with_suffix(".txt"))).vocabulary == replace(
        load(tiny).vocabulary, width=None
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(3)], "holds no dict of texts"),
        ({1: torch.zeros(3)}, "holds no dict of texts"),
        ({"A": 3.0}, "other things than vectors of one length"),
        ({"A": torch.zeros(3), "B": torch.zeros(4)}, "other things than vectors of one length"),
        ({"A": torch.zeros(3, 3)}, "other things than vectors of one length"),
        ({}, "other things than vectors"),
        ({"A": np.zeros(3)}, "cannot be read as a dict of symbols and vectors: it names numpy"),
    ],
    ids=["list", "numbers", "no vector", "lengths", "matrix", "nothing", "numpy"],
)
def test_symbols_of_another_kind(tmp_path, content, message):
    path = tmp_path / "embeddings.pt"
    torch.save(content, path)
    with pytest.raises(DataError, match=message):
        read_symbols(path)
    path.write_text(json.dumps({"A": 1}))
    with pytest.raises(DataError, match=r"embeddings\.pt"):
        read_symbols(path)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    with pytest.raises(DataError, match="has no symbols"):
        read_symbols(empty)
