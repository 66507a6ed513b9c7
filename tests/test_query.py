"""Expressions over columns: the same answers as Python's own, and errors that help."""

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.errors import QueryError
from zarrscope.model import strings
from zarrscope.query import Categories, parse

TEXTS = ("actin", "psd95", "FUS", "β-camkii", "")


def column(values):
    return strings(values) if isinstance(values[0], str) else np.array(values)


def coded(values):
    texts = sorted(set(values))
    return Categories(np.array([texts.index(value) for value in values], np.int8), strings(texts))


tables = st.integers(1, 12).flatmap(
    lambda n: st.fixed_dictionaries(
        {
            "text": st.lists(st.sampled_from(TEXTS), min_size=n, max_size=n),
            "number": st.lists(st.integers(-3, 3), min_size=n, max_size=n),
            "real": st.lists(st.sampled_from([-1.5, 0.0, 2.0, float("nan")]), min_size=n, max_size=n),
            "flag": st.lists(st.booleans(), min_size=n, max_size=n),
        }
    )
)
numeric = st.sampled_from(["number", "real"])
comparisons = st.one_of(
    st.builds("{} {} {}".format, numeric, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.integers(-4, 4)),
    st.builds("{} {} {}".format, st.integers(-4, 4), st.sampled_from(["==", "!=", "<", ">="]), numeric),
    st.builds("{} <= {} < {}".format, st.integers(-4, 0), numeric, st.integers(0, 4)),
    st.builds(
        "number {} {}".format, st.sampled_from(["in", "not in"]), st.tuples(st.integers(-4, 4), st.integers(-4, 4))
    ),
    st.builds("number {} real".format, st.sampled_from(["==", "<", ">="])),
    st.builds("text {} {!r}".format, st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from(TEXTS)),
    st.just("flag"),
    st.sampled_from(["flag == True", "flag != True"]),
)
expressions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("(({}) & ({}))".format, inner, inner),
        st.builds("(({}) | ({}))".format, inner, inner),
        st.builds("(not {})".format, inner),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(table=tables, text=expressions)
def test_a_mask_is_what_python_says_row_by_row(table, text):
    """An expression is Python: evaluated over columns it gives what ``eval`` gives over each row."""
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    wanted = [bool(eval(text, {}, row)) for row in rows]
    assert parse(text).mask({name: column(values) for name, values in table.items()}).tolist() == wanted
    categories = {name: coded(values) if name == "text" else column(values) for name, values in table.items()}
    assert parse(text).mask(categories).tolist() == wanted


@settings(deadline=None)
@given(values=st.lists(st.sampled_from(TEXTS), min_size=1), wanted=st.sampled_from(TEXTS), equal=st.booleans())
def test_a_text_that_no_row_has_is_an_error_and_else_python_agrees(values, wanted, equal):
    expression = parse(f"name {'==' if equal else '!='} {wanted!r}")
    for held in (column(values), coded(values)):
        if wanted in values:
            assert expression.mask({"name": held}).tolist() == [(value == wanted) == equal for value in values]
        else:
            with pytest.raises(QueryError, match="no row has name"):
                expression.mask({"name": held})


def test_a_missing_text_is_equal_to_nothing():
    held = {"name": Categories(np.array([0, -1], np.int8), strings(["a"]))}
    assert parse("name == 'a'").mask(held).tolist() == [True, False]
    assert parse("name != 'a'").mask(held).tolist() == [False, True]
    assert parse("name in ('a',)").mask(held).tolist() == [True, False]


COLUMNS = {"protein": strings(["psd95", "actin"]), "row": np.array([1, 2]), "ok": np.array([True, False])}
REFUSED = {
    "unknown column": (
        "protien == 'actin'",
        "no column 'protien'; there are ok, protein, row. Did you mean 'protein'?",
    ),
    "unknown value": (
        "protein == 'psd59'",
        "no row has protein == 'psd59'; there are actin, psd95. Did you mean 'psd95'?",
    ),
    "unknown value of several": ("protein in ('actin', 'x')", "no row has protein == 'x'"),
    "a call": ("open('x')", "cannot use \"open('x')\""),
    "an attribute": ("protein.x == 1", "expected a column, text or a number"),
    "arithmetic": ("row + 1 == 2", "expected a column, text or a number"),
    "a subscript": ("protein[0] == 'a'", "expected a column"),
    "a lambda": ("lambda: 1", "cannot use"),
    "a walrus": ("(x := 1)", "cannot use"),
    "a format string": ("protein == f'{row}'", "expected a column"),
    "nothing": ("", "cannot read ''"),
    "two lines": ("row == 1\nrow == 2", "cannot read"),
    "a NUL": ("row == 1\0", "cannot read"),
    "text and number": ("protein == 1", "holds text, but it is compared with 1"),
    "number and text": ("row == 'a'", "holds numbers, but it is compared with 'a'"),
    "None": ("row == None", "can't be compared with None"),
    "is": ("row is 1", "expected 'column in (a, b)' or 'column == a'"),
    "bytes": ("protein == b'a'", "expected a column, text or a number"),
    "not true or false": ("protein", "is not true or false"),
    "numbers alone": ("1 == 1", "compared with no column"),
    "text of another type": ("protein < row", "can't be compared like this"),
    "two columns in": ("protein in row", "can't be compared like this"),
    "a stray backslash": ("protein == '\\d'", "no row has protein"),
    "deep": ("not " * 70 + "ok", "nested too deeply"),
    "deeper than Python reads": ("(" * 900 + "ok" + ")" * 900, "cannot read"),
    "deep within a literal": ("row == " + "-" * 900 + "1", "cannot"),
    "deep where nothing is allowed": ("ok" + ".x" * 900, "cannot"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_says_what_to_write(text, message):
    """Whatever is not a comparison of columns is an error that shows what there is, never an empty result."""
    with pytest.raises(QueryError) as error:
        parse(text).mask(COLUMNS)
    assert message in str(error.value)


@settings(deadline=None)
@given(st.text(alphabet=string.printable, max_size=40))
def test_no_text_does_more_than_be_refused(text):
    try:
        mask = parse(text).mask(COLUMNS)
    except QueryError:
        return
    assert mask.dtype == bool
    assert mask.shape == (2,)


def test_columns_are_known_before_any_is_read():
    assert parse("a == 1 and (b in (1, 2) or not c) and a < d").columns == ("a", "b", "c", "d")
