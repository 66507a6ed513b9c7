"""One contract for every kind of source, on a disk and behind fsspec."""

from __future__ import annotations

import pickle
import uuid
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import pytest

from sources.archives import KINDS, MEMBERS, Counted, contents, place
from zarrscope.errors import DecodeError
from zarrscope.model import Members, Source
from zarrscope.sources import open_source

CASES = [(kind, where) for kind in KINDS for where in ("disk", "memory")]


@pytest.fixture(params=CASES, ids=[f"{kind}, {where}" for kind, where in CASES])
def case(request, tmp_path):
    kind, where = request.param
    if where == "disk":
        yield kind, place(kind, str(tmp_path))
        return
    root = f"memory://{uuid.uuid4().hex}"
    yield kind, place(kind, root)
    fsspec.filesystem("memory").rm(root.removeprefix("memory://"), recursive=True)


@pytest.fixture
def source(case) -> Source:
    return open_source(case[1])


class TestContract:
    def test_says_what_it_is(self, case, source):
        """The kind comes from the content: no file here has an ending."""
        kind, url = case
        assert source.kind == ("tar in zip" if " in " in kind else kind.split()[0])
        assert source.name == "crops"
        assert source.url.startswith(url)
        assert source.sequential == (kind == "tar in deflated zip")
        assert source.size > (0 if "deflated" in kind else sum(map(len, MEMBERS.values())) - 1)

    def test_lists_every_member_with_its_size(self, source):
        """Names, sizes and order are those of the source, and nothing is refused or remarked on."""
        index = source.index()
        assert index.members.names.tolist() == list(MEMBERS)
        assert index.members.sizes.tolist() == [len(data) for data in MEMBERS.values()]
        assert not index.members.refused
        assert not index.salvaged
        assert [finding.kind for finding in index.findings] == [
            "provenance"
        ] * source.sequential  # the folder beside the tar

    def test_gives_the_bytes_of_every_member(self, source):
        assert contents(source) == MEMBERS

    @pytest.mark.parametrize("order", ["backwards", "shuffled", "twice", "none"])
    def test_gives_members_in_the_order_asked_for(self, source, order):
        """A sequential source too, though it starts anew for each step back."""
        rows = {
            "backwards": np.arange(len(MEMBERS))[::-1],
            "shuffled": np.random.default_rng(3).permutation(len(MEMBERS)),
            "twice": np.array([2, 2, 0, 2]),
            "none": np.zeros(0, np.int64),
        }[order]
        members = source.index().members.take(rows)
        assert [bytes(got) for got in source.read(members)] == [list(MEMBERS.values())[row] for row in rows]

    def test_pickles_and_reads_elsewhere(self, source):
        """What travels to a worker is small, and takes members that another process listed."""
        members = source.index().members
        list(source.read(members))
        data = pickle.dumps(source)
        assert len(data) < 1000
        there = pickle.loads(data)
        assert (there.name, there.url, there.kind, there.token()) == (
            source.name,
            source.url,
            source.kind,
            source.token(),
        )
        assert [bytes(got) for got in there.read(members)] == list(MEMBERS.values())

    def test_reads_from_several_threads(self, source):
        members = source.index().members

        def read(seed):
            rows = np.sort(np.random.default_rng(seed).permutation(len(MEMBERS))[:4])
            return [bytes(got) for got in source.read(members.take(rows))] == [
                list(MEMBERS.values())[row] for row in rows
            ]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, range(16)))

    def test_a_missing_member_is_an_error_of_its_own(self, source):
        """A row without a place yields an error; its neighbours come as they are."""
        members = source.index().members.take(np.array([0, -1, 2]))
        first, missing, last = source.read(members)
        assert isinstance(missing, DecodeError)
        assert [bytes(first), bytes(last)] == [MEMBERS["a-0-0"], MEMBERS["c.tif"]]

    def test_refused_members_are_named_and_not_read(self, source):
        members = source.index().members
        told = Members(
            names=members.names, sizes=members.sizes, offsets=members.offsets, refused={2: "a link", 3: "a device"}
        )
        got = list(source.read(told))
        assert [str(got[2]), str(got[3])] == [
            f"{source.url}!/c.tif: a link.",
            f"{source.url}!/deep/down/d β: a device.",
        ]
        assert [bytes(one) for one in got[4:]] == list(MEMBERS.values())[4:]

    def test_huge_members_are_refused(self, source, monkeypatch):
        """Nothing beyond the largest size is taken into memory."""
        monkeypatch.setattr("zarrscope.sources.access.LARGEST", 100_000)
        got = contents(source)
        assert "3,000,000 bytes, and the most that one member may have is 100,000" in got.pop("f-large")
        assert got == {name: data for name, data in MEMBERS.items() if name != "f-large"}

    def test_token_stays_until_the_source_changes(self, case, source):
        kind, url = case
        before = source.token()
        assert pickle.loads(pickle.dumps(source)).token() == before
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.pipe_file(path + "/g" if kind == "folder" else path, b"changed")
        assert pickle.loads(pickle.dumps(source)).token() != before


@pytest.mark.parametrize("kind", ["tar", "zip stored", "zip deflated", "tar in stored zip"])
def test_members_side_by_side_come_with_one_read(tmp_path, monkeypatch, kind):
    """Three megabytes in seven members are one read, where as much may be read at once; with a gap they are two."""
    monkeypatch.setattr("zarrscope.storage.blob.LOCAL_RUN", 8 << 20)
    source = open_source(place(kind, str(tmp_path)))
    members = source.index().members
    list(source.read(members.take(slice(0, 1))))  # a zip reads its directory once
    counted = Counted(monkeypatch)
    list(source.read(members))
    assert len(counted.calls) == 1
    counted.calls.clear()
    list(source.read(members.take(np.array([0, 1, 2, 6]))))
    # Deflated, the large members shrink to a gap that is not worth a second read.
    assert len(counted.calls) == (1 if kind == "zip deflated" else 2)


def test_a_run_stays_below_the_limit(tmp_path, monkeypatch):
    """No read asks for more than the storage likes, except for a member that is larger by itself."""
    monkeypatch.setattr("zarrscope.storage.blob.LOCAL_RUN", 80_000)
    source = open_source(place("tar", str(tmp_path)))
    members = source.index().members
    counted = Counted(monkeypatch)
    assert [bytes(got) for got in source.read(members)] == list(MEMBERS.values())
    assert [length > 80_000 for _, length in counted.calls] == [False, True, False]
