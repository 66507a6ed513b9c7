"""Layouts become plans: every row in one task, no shard in two, and selected samples stay with their partners."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.errors import QueryError, UsageError
from zarrscope.model import Axis, Choices, Image, Layout, Member, Members, Origin, Parts, SampleSet, Table, strings
from zarrscope.planning import chunked, from_json, make_plan, resized, select, tasks_of, to_json

PROTEINS = ("actin", "psd95", "tubulin")


def image(path, n, *, chunk=1, shard=4):
    axes = (Axis(name="n", size=n, type="sample"), *(Axis(name=name, size=3, type="space") for name in "yx"))
    chunk = max(1, min(chunk, n))
    rows = -(-min(shard, n) // chunk) * chunk
    return Image(
        path=path, role=path[-1], axes=axes, dtype="uint8", chunks=(chunk, 3, 3), shards=(max(rows, chunk), 3, 3)
    )


def parts(path, n, *, missing=(), copies=(), **obs):
    """Rows whose member's offset is its row, so that a row can be told after any selection."""
    return Parts(
        image=path,
        members=Members.of([Member(name=f"{path}-{row}", size=9, offset=row) for row in range(n)]),
        sources=np.array([-1 if row in missing else 0 for row in range(n)], np.int16),
        obs={name: strings(values) if isinstance(values[0], str) else np.array(values) for name, values in obs.items()},
        copies=Members.of([Member(name=f"{path}-{row}", size=9, offset=100 + row) for row in copies]),
        copy_rows=np.array(copies, np.int64),
        copy_sources=np.zeros(len(copies), np.int16),
    )


def layout(*rows, sets, **further):
    return Layout(
        images=tuple(image(one.image, len(one)) for one in rows),
        tables=tuple(Table(path=f"{one.image}/rows", role="rows", annotates=one.image) for one in rows),
        parts=rows,
        sets=sets,
        **further,
    )


def paired(name, *paths, **options):
    return SampleSet(name=name, images=tuple((path[-1], path) for path in paths), **options)


@settings(deadline=None)
@given(n=st.integers(1, 300), chunk=st.integers(1, 40), shard=st.integers(1, 70), data=st.data())
def test_every_row_is_in_one_task_and_every_task_is_a_shard(n, chunk, shard, data):
    """Tasks partition the rows in order, each is exactly one shard, and a shard is whole chunks."""
    made = resized(image("a", n), data.draw(st.integers(1, 300)), chunk=chunk, shard=shard)
    tasks = list(tasks_of(made))
    rows = [row for task in tasks for row in range(task.start, task.stop)]
    assert rows == list(range(made.shape[0]))
    assert [task.shard for task in tasks] == list(range(len(tasks)))
    assert all(task.start == task.shard * made.shards[0] for task in tasks)
    assert made.shards[0] % made.chunks[0] == 0
    assert made.chunks[0] <= made.shape[0]


@settings(deadline=None)
@given(n=st.integers(1, 30), m=st.integers(1, 30), limit=st.none() | st.integers(1, 40), data=st.data())
def test_selection_keeps_partners_together(n, m, limit, data):
    """After any selection row k of each sibling is still its partner, and a column of rows still points to its own."""
    proteins = data.draw(st.lists(st.sampled_from(PROTEINS), min_size=n, max_size=n))
    through = data.draw(st.lists(st.integers(-1, m - 1), min_size=n, max_size=n))
    missing, copies = (data.draw(st.lists(st.integers(0, n - 1), unique=True)) for _ in range(2))
    whole = layout(
        parts("s/a", n, protein=proteins, at=through, missing=missing, copies=copies),
        parts("s/b", n),
        parts("s/c", m),
        sets=(paired("s", "s/a", "s/b", "s/c", through=(("c", "at"),)),),
    )
    wanted = data.draw(st.none() | st.sampled_from(PROTEINS))
    expected = [row for row in range(n) if wanted is None or proteins[row] == wanted][:limit]
    if not expected:
        with pytest.raises(QueryError):
            select(whole, where=f"protein == {wanted!r}", limit=limit)
        return
    chosen = select(whole, where=None if wanted is None else f"protein == {wanted!r}", limit=limit)
    a, b = chosen.rows("s/a"), chosen.rows("s/b")
    assert a.members.offsets.tolist() == b.members.offsets.tolist() == expected
    held = [row for row in expected if through[row] >= 0]
    if held or (wanted, limit) == (None, None):
        c = chosen.rows("s/c").members.offsets
        assert [c[at] if at >= 0 else -1 for at in a.obs["at"]] == [through[row] for row in expected]
        assert chosen.sets == whole.sets
    else:
        assert chosen.sets == (paired("s", "s/a", "s/b"),)  # a partner that nothing points to is left out
    there = [one for one in chosen.parts if one.image != "s/c"]
    assert all(chosen.image(one.image).shape[0] == len(one) for one in chosen.parts)
    present = sum(int((one.sources >= 0).sum()) + len(one.copies) for one in chosen.parts)
    assert present + chosen.left_out == 2 * n + m - len(missing) + len(copies)
    assert [int(there[0].members.offsets[row]) for row in there[0].copy_rows] == [
        row for row in copies if row in expected
    ]


def two_sets():
    return layout(
        parts("full/a", 3, protein=["unknown"] * 3),
        parts("subset/a", 3, protein=["actin", "psd95", "actin"]),
        parts("test/a", 2, level=[1, 2]),
        sets=(paired("full", "full/a"), paired("subset", "subset/a"), paired("test", "test/a")),
    )


SELECTIONS = {
    "a value of one set": ("protein == 'psd95'", {"subset/a": [1]}),
    "a value that only another set has": ("protein == 'unknown'", {"full/a": [0, 1, 2]}),
    "not a value of one set": ("protein != 'actin'", {"full/a": [0, 1, 2], "subset/a": [1]}),
    "values of several sets": ("protein in ('unknown', 'psd95')", {"full/a": [0, 1, 2], "subset/a": [1]}),
    "a column of one set": ("level > 1", {"test/a": [1]}),
}


@pytest.mark.parametrize(("where", "kept"), SELECTIONS.values(), ids=SELECTIONS.keys())
def test_an_expression_is_evaluated_over_all_sets_as_one_table(where, kept):
    """A value that another set has is no typing error; a set without the column has no sample."""
    chosen = select(two_sets(), where=where)
    assert {one.image: one.members.offsets.tolist() for one in chosen.parts} == kept
    assert {one.path for one in chosen.images} == set(kept)
    assert {one.annotates for one in chosen.tables} == set(kept)
    assert chosen.left_out == 8 - sum(map(len, kept.values()))


REFUSED = {
    "unknown column": ("protien == 'actin'", QueryError, "Did you mean 'protein'"),
    "unknown value": ("protein == 'FUS'", QueryError, "there are actin, psd95, unknown"),
    "no sample": ("level > 9", QueryError, "no sample is left by 'level > 9'"),
    "columns of two sets": ("level > 1 and protein == 'actin'", QueryError, "no set has all of"),
    "no column": ("1 == 1", QueryError, "compared with no column"),
}


@pytest.mark.parametrize(("where", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_an_expression_that_selects_nothing_is_an_error(where, error, message):
    with pytest.raises(error, match=message):
        select(two_sets(), where=where)


def test_siblings_that_do_not_line_up_choose_for_themselves():
    """An archive with fewer rows is selected by its own columns; one that loses all rows leaves its set."""
    rows = [
        parts("s/a", 3, protein=["actin", "psd95", "actin"]),
        parts("s/b", 2, protein=["psd95", "actin"]),
        parts("s/c", 1, protein=["actin"]),
    ]
    whole = layout(*rows, sets=(paired("s", "s/a", "s/b", "s/c"),))
    chosen = select(whole, where="protein == 'psd95'")
    assert {one.image: one.members.offsets.tolist() for one in chosen.parts} == {"s/a": [1], "s/b": [0]}
    assert chosen.sets == (paired("s", "s/a", "s/b"),)


def test_a_limit_below_one_is_refused():
    with pytest.raises(UsageError, match="expected at least 1"):
        select(two_sets(), limit=0)


def test_a_plan_survives_json():
    choices = Choices(chunk=2, shard=3, where="protein == 'actin'", limit=2, keep=("a",), card={"license": "CC0-1.0"})
    planned = make_plan(
        chunked(two_sets(), choices),
        recipe="toy",
        recipe_version=1,
        version="0",
        sources=(Origin(name="a.tar", kind="tar", size=9, members=8, token="t"),),
        choices=choices,
        codecs={"zstd": "1"},
    )
    assert from_json(to_json(planned)) == planned
    assert [one.shards[0] for one in planned.images] == [4, 4, 2]
    assert [one.chunks[0] for one in planned.images] == [2, 2, 2]
    assert planned.counts.members == 8
