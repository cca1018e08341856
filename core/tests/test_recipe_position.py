"""Lines of keys, among all that could mislead a scanner."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.host.recipe.position import key_lines, line_of, toml
from pertharness.host.recipe.text import to_toml

TEXT = '''# [comment]
a = "x # no comment [ ["  # a comment [
b = [
  1, # ]
  "]", \'[\',
]
c = """
d = 1
[[tasks]] "" \\""" """""
e = 2
"quoted . key".'f' = { g = 1, h = "}" }

[t.u] # [v]
  i = \'\'\'
[w]\'\'\'\'
[[tasks]]
j = 1
split.kind = 1
[tasks.split.params]
k = 1
[[ tasks ]]

j = 2
[[tasks.deep]]
[[tasks.deep]]
l = 1
'''


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n")], ids=["lf", "crlf"])
def test_each_key_is_found_on_its_line(text):
    assert key_lines(text) == {
        ("a",): 2, ("b",): 3, ("c",): 7, ("e",): 10, ("quoted . key",): 11, ("quoted . key", "f"): 11,
        ("t",): 13, ("t", "u"): 13, ("t", "u", "i"): 14, ("tasks",): 16, ("tasks", 0): 16, ("tasks", 0, "j"): 17,
        ("tasks", 0, "split"): 18, ("tasks", 0, "split", "kind"): 18, ("tasks", 0, "split", "params"): 19,
        ("tasks", 0, "split", "params", "k"): 20, ("tasks", 1): 21, ("tasks", 1, "j"): 23,
        ("tasks", 1, "deep"): 24, ("tasks", 1, "deep", 0): 24, ("tasks", 1, "deep", 1): 25,
        ("tasks", 1, "deep", 1, "l"): 26,
    }  # fmt: skip


def test_what_has_no_line_gets_that_of_what_is_around_it():
    lines = key_lines(TEXT)
    assert line_of(("quoted . key", "f", "h"), lines) == 11
    assert line_of(("b", 1), lines) == 3
    assert line_of(("nowhere",), lines) == 1


SCALARS = st.booleans() | st.integers(-5, 5) | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=2)
TABLES = st.dictionaries(st.text(max_size=5), SCALARS | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2))


def key_written_on(line: int, written: list[str]) -> str:
    """Return the last part of the key that begins on a line: of a value, a table or an array of tables."""
    if written[line - 1].startswith("["):
        node = toml.loads(written[line - 1])
        while node:
            ((key, node),) = (node[0] if isinstance(node, list) else node).items()
            if node == [{}]:
                break
        return key
    for end in range(line, len(written) + 1):  # an array takes several lines
        try:
            (key,) = toml.loads("\n".join(written[line - 1 : end]))
        except toml.TOMLDecodeError:
            continue
        return key
    raise AssertionError(f"no key begins on line {line} of {written}")


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=5), SCALARS | TABLES | st.lists(TABLES, min_size=1, max_size=3), max_size=4))
def test_every_key_of_a_written_text_is_found_where_it_was_written(data):
    text = to_toml(data)
    assert toml.loads(text) == data
    lines = key_lines(text)
    written = text.split("\n")
    for name, value in data.items():
        if isinstance(value, dict):
            continue
        assert key_written_on(lines[(name,)], written) == name
        if written[lines[(name,)] - 1].startswith("[["):  # short tables stand in a list on lines of their own
            for i, item in enumerate(value):
                for key in item:
                    assert key_written_on(lines[name, i, key], written) == key


def test_what_toml_cannot_say_is_refused():
    with pytest.raises(TypeError, match="NoneType"):
        to_toml({"a": None})
