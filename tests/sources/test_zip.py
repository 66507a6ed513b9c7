"""Zips: what is wrong with one entry is said of it alone, what is wrong with the archive refuses it."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.archives import MEMBERS, content, contents, opened, patched, zipped
from zarrscope.errors import SourceError
from zarrscope.sources import open_source
from zarrscope.sources.access import BrokenError, Section
from zarrscope.sources.inflate import Inflated
from zarrscope.storage import Blob

THREE = {name: content(number, 900) for number, name in enumerate(("one", "two", "three"))}
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def place_of_content(data: bytes, name: str) -> int:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.getinfo(name).header_offset + 30 + len(name)


REFUSED = {
    "encrypted": ({8: b"\1\0"}, "it is encrypted"),
    "another method": ({10: b"\x0e\0"}, "it is compressed by method 14 (LZMA)"),
    "a symbolic link": ({5: b"\3", 38: struct.pack("<I", 0o120777 << 16)}, "a symbolic link"),
    "a bomb": ({24: struct.pack("<I", 1_000_000)}, "more than deflate can hold"),
    "more than is there": ({24: struct.pack("<I", 901)}, "its data end after 900 of 901 bytes"),
    "less than is there": ({24: struct.pack("<I", 899)}, "it holds more than the 899 bytes that it declares"),
    "another CRC": ({16: b"abcd"}, "but 64636261 is declared"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_bad_entry_leaves_the_others(tmp_path, case):
    """The entry is listed and named with the reason; its neighbours come as they are."""
    fields, reason = REFUSED[case]
    source = opened(tmp_path, patched(zipped(THREE), "two", central=fields))
    got = contents(source)
    assert str(got["two"]).startswith(f"{source.url}!/two: ")
    assert reason in str(got["two"])
    assert (got["one"], got["three"]) == (THREE["one"], THREE["three"])


@pytest.mark.parametrize(
    ("method", "local", "reason"),
    [
        (STORED, {0: b"XX"}, "expected a local header, found b'XX"),
        (STORED, {28: b"\xff\xff"}, "the archive has "),
        (DEFLATED, {26: b"\0\0"}, "its deflated data are corrupt"),
    ],
    ids=["no local header", "an extra field into the next entry", "a name that is shorter"],
)
def test_local_headers_are_checked(tmp_path, method, local, reason):
    source = opened(tmp_path, patched(zipped(THREE, method), "two", local=local))
    got = contents(source)
    assert reason in str(got["two"])
    assert (got["one"], got["three"]) == (THREE["one"], THREE["three"])


def test_extra_fields_that_only_the_local_header_has_are_stepped_over(tmp_path):
    """Info-ZIP writes longer ones there: the content begins where the local header says."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in THREE.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:  # local only, as it stays small
                member.write(data)
    assert contents(opened(tmp_path, file.getvalue())) == THREE


@pytest.mark.parametrize("method", [STORED, DEFLATED], ids=["stored", "deflated"])
def test_any_flipped_bit_of_a_content_is_noticed(tmp_path, method):
    """The CRC-32 is checked for each member that is read."""
    whole = zipped(THREE, method)
    begin = place_of_content(whole, "two")
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        length = archive.getinfo("two").compress_size
    for at in range(begin, begin + length, 1 + length // 40):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        got = contents(opened(tmp_path, bytes(damaged)))
        harmless = method == DEFLATED and got["two"] == THREE["two"]  # bits that fill up the last byte
        assert isinstance(got["two"], str) or harmless, at
        assert (got["one"], got["three"]) == (THREE["one"], THREE["three"])


def test_every_cut_is_refused(tmp_path):
    """The directory stands at the end, so that a cut zip has lost it."""
    whole = zipped(THREE)
    for cut in range(1, len(whole)):
        with pytest.raises(SourceError):
            opened(tmp_path, whole[:cut])


def test_cut_comment_is_refused(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("one", b"1")
        archive.comment = b"of the archive"
    assert contents(opened(tmp_path, file.getvalue())) == {"one": b"1"}
    with pytest.raises(SourceError, match="cut off"):
        opened(tmp_path, file.getvalue()[:-3])


@pytest.mark.parametrize("damage", ["signature", "beyond", "count", "name"])
def test_broken_directories_are_refused(tmp_path, damage):
    data = bytearray(zipped({"näme": b"1", **THREE}))
    at = data.index(b"PK\1\2")
    place, value = {
        "signature": (at, b"XX"),
        "beyond": (len(data) - 10, b"\xff\xff\xff\x7f"),
        "count": (at + 28, b"\xff\xff"),
        "name": (at + 47, b"\xff\xff"),
    }[damage]
    data[place : place + len(value)] = value
    with pytest.raises(SourceError, match="the central directory of this zip can't be read"):
        opened(tmp_path, bytes(data)).index()


@pytest.mark.parametrize("where", ["another", "directory"])
def test_overlapping_entries_are_refused(tmp_path, where):
    """A quilt lets many entries share one stretch of data; salvage refuses these entries alone."""
    whole = zipped(THREE, STORED)
    name, size = ("one", 1100) if where == "another" else ("three", 1100)
    fields = {20: struct.pack("<I", size), 24: struct.pack("<I", size)}
    source = opened(tmp_path, patched(whole, name, central=fields))
    with pytest.raises(SourceError, match=rf"broken at byte [\d,]+: the entry '{name}' reaches into"):
        source.index()
    index = source.index(salvage=True)
    assert index.salvaged
    got = contents(source, index)
    assert got.pop(name) == f"{source.url}!/{name}: its bytes reach into those of another entry."
    assert got == {other: data for other, data in THREE.items() if other != name}


def test_junk_around_a_zip_is_told(tmp_path):
    """A self-extracting head or a tail that a server added: the members are there, and a finding says so."""
    source = opened(tmp_path, b"#!/bin/sh\n" + zipped(THREE) + b"tail")
    index = source.index()
    assert contents(source, index) == THREE
    assert [finding.message for finding in index.findings] == [
        "10 bytes before the zip are not its",
        "4 bytes after the zip are not its",
    ]


def test_duplicates_and_folders_are_listed_in_order(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.mkdir("folder")
        archive.writestr("x", b"1")
        archive.writestr("../y", b"2")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x", b"3")
    source = opened(tmp_path, file.getvalue())
    members = source.index().members
    assert members.names.tolist() == ["folder/", "x", "../y", "x"]
    assert [bytes(got) for got in source.read(members)] == [b"", b"1", b"2", b"3"]


NAMES = {
    "UTF-8, unflagged": ("ER-sec61β".encode(), "ER-sec61β", "are not flagged as UTF-8, but are"),
    "cp437": (b"caf\x82", "café", "taken for cp437"),
    "GBK": ("图像一".encode("gbk"), "═╝╧±╥╗", "(in GBK it would be '图像一')"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_without_the_flag(tmp_path, case):
    """UTF-8 is tried first, then cp437, as the format says; a finding tells which, and what else it may be."""
    raw, name, message = NAMES[case]
    data = zipped({"x" * len(raw): b"1", "plain": b"2"}).replace(b"x" * len(raw), raw)
    source = opened(tmp_path, data)
    index = source.index()
    assert contents(source, index) == {name: b"1", "plain": b"2"}
    assert [finding.kind for finding in index.findings] == ["provenance"]
    assert message in index.findings[0].message


def test_zip64_is_read(tmp_path, monkeypatch):
    """More entries than fit into 16 bits need the larger end record."""
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    data = zipped(THREE)
    assert b"PK\6\6" in data
    assert contents(opened(tmp_path, data)) == THREE


def test_an_empty_zip_has_no_members(tmp_path):
    """And members that another archive had are errors, one by one."""
    source = opened(tmp_path, zipped({}))
    assert len(source.index().members) == 0
    theirs = opened(tmp_path, zipped(THREE)).index().members
    (tmp_path / "crops").write_bytes(zipped({}))
    assert all("no place in the archive" in str(got) for got in open_source(source.url).read(theirs))


def test_members_of_another_archive_are_refused(tmp_path):
    """Offset and size have to be those of an entry."""
    members = opened(tmp_path, zipped(THREE, STORED)).index().members
    source = opened(tmp_path, zipped({"longer": b"", **THREE}, STORED))
    first, *others = source.read(members)
    assert all("which is another one than was listed" in str(got) for got in (first, *others))


@pytest.fixture
def stream(tmp_path):
    """Three megabytes that do not compress well, as a stream of several steps."""
    data = random.Random(5).randbytes(3_300_000)
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    path = tmp_path / "packed"
    path.write_bytes(packed)
    return Inflated(Section(Blob(str(path)), 0, len(packed)), len(data), zlib.crc32(data)), data


@settings(max_examples=25, deadline=None, suppress_health_check=[])
@given(places=st.lists(st.tuples(st.integers(0, 3_300_100), st.integers(0, 1_200_000)), min_size=1, max_size=4))
def test_a_stream_reads_like_a_file(tmp_path_factory, places):
    """Forwards, backwards and beyond the end, what comes is what a slice gives."""
    data = np.random.default_rng(5).bytes(3_300_000)
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    path = tmp_path_factory.mktemp("stream") / "packed"
    path.write_bytes(packed)
    stream = Inflated(Section(Blob(str(path)), 0, len(packed)), len(data), zlib.crc32(data))
    for offset, length in places:
        assert stream.read(offset, length) == data[offset : offset + length]
    stream.finish()


@pytest.mark.parametrize(
    ("size", "crc", "cut", "found"),
    [
        (0, 1, 0, "the CRC-32 is"),
        (1, 0, 0, "the deflated data end here"),
        (-1, 0, 0, "the data go on"),
        (0, 0, 99, "the deflated data end here"),
    ],
    ids=["another CRC", "a byte too many", "a byte too few", "cut"],
)
def test_a_stream_is_checked_at_its_end(stream, size, crc, cut, found):
    whole, _ = stream
    section = whole.packed.part(0, whole.packed.size - cut)
    with pytest.raises(BrokenError, match=found):
        Inflated(section, whole.size + size, whole.crc ^ crc).finish()


def test_members_survive_where_the_archive_has_all_of_them(tmp_path):
    """The same members as every other source has."""
    assert contents(opened(tmp_path, zipped())) == MEMBERS
