"""Opening: content decides, what is no source is refused with what it is instead, and archives open inside archives."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib

import fsspec
import pytest

from sources.archives import MEMBERS, content, contents, opened, patched, tar, zipped
from zarrscope.errors import SourceError, TemporaryError, UsageError
from zarrscope.sources import open_source

FOREIGN = {
    "HTML": (b"\n<!DOCTYPE html>\n<html><body>Access denied", "looks like an HTML page, so the download failed"),
    "XML": (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code>', "an XML answer of a server, so the download failed"),
    "empty": (b"", "it is empty"),
    "zeros": (bytes(20_000), "it begins with zeros"),
    "gzip": (b"\x1f\x8b\x08" + bytes(600), "a gzip file: unpack it with gunzip"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
    "text": (b"slide,species\n", "found neither (first bytes b'slide,species\\n')"),
    "short": (b"P", "found neither (first bytes b'P')"),
    "a zip cut off": (zipped()[:-400], "a zip that is cut off"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_no_source_is_refused(tmp_path, case):
    """The message names the file, what was expected, and what it looks like; the exit code is 3."""
    data, found = FOREIGN[case]
    with pytest.raises(SourceError) as caught:
        opened(tmp_path, data)
    assert str(caught.value).startswith(f"{tmp_path / 'crops'}: ")
    assert "expected" in str(caught.value)
    assert found in str(caught.value)
    assert caught.value.exit_code == 3


def test_names_do_not_count(tmp_path):
    """A tar called .zip is a tar."""
    path = tmp_path / "crops.zip"
    path.write_bytes(tar())
    assert open_source(str(path)).kind == "tar"
    assert open_source(f"file://{path}").kind == "tar"


@pytest.mark.parametrize("url", ["{}/gone.tar", "file://{}/gone.tar", "memory://gone/x.tar"])
def test_no_such_file(tmp_path, url):
    with pytest.raises(SourceError, match="no such file"):
        open_source(url.format(tmp_path))


def test_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="found a device, a pipe or a socket"):
        open_source(str(tmp_path / "pipe"))


def test_storage_that_fails_is_temporary_and_tells_no_secret(monkeypatch):
    def fail(*_arguments, **_options):
        raise RuntimeError("GET https://host/x?X-Signature=canary")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", fail)
    with pytest.raises(TemporaryError) as caught:
        open_source("memory://bucket/x.tar?X-Signature=canary")
    assert "canary" not in str(caught.value)


def test_a_server_that_does_not_tell_the_size_is_refused(monkeypatch):
    """Without it nobody knows where an archive ends."""
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", lambda *_, **__: {"size": None, "type": "file"})
    with pytest.raises(SourceError, match="no such file"):
        open_source("memory://bucket/x.tar")


def test_a_server_without_ranges_is_noticed(tmp_path, monkeypatch):
    """Some answer with the whole file: taken for a range, that would be silently wrong."""
    source = opened(tmp_path, tar())
    monkeypatch.setattr("zarrscope.storage.Blob.read", lambda *_: memoryview(tar()))
    with pytest.raises(SourceError, match="Range requests are needed"):
        source.index()


DESKTOP = {"data/": b"", "data/.DS_Store": b"x", "__MACOSX/data/._all.tar": b"x"}


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"all.tar": tar()}, "tar in zip"),
        ({**DESKTOP, "data/all.tar": tar()}, "tar in zip"),
        ({"all.tar": tar(), "readme.txt": b"x"}, "zip"),
        ({"one.tar": tar(), "two.tar": tar()}, "zip"),
        ({"all.tar": b"no tar"}, "zip"),
    ],
    ids=["alone", "beside what a desktop leaves", "beside a text", "two", "by name only"],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_zip_that_holds_one_tar_is_that_tar(tmp_path, members, kind, method):
    source = opened(tmp_path, zipped(members, method))
    assert source.kind == kind
    index = source.index()
    assert (index.members.names.tolist() == list(MEMBERS)) == (kind == "tar in zip")
    assert [finding.message for finding in index.findings] == (
        ["3 folders and hidden files beside the tar are left aside"] if "data/" in members else []
    )


def test_a_deflated_tar_of_a_wrong_crc_is_refused(tmp_path):
    """One pass over the stream is one check of all its bytes."""
    data = zipped({"all.tar": tar()})
    at = data.rindex(b"PK\1\2") + 16
    source = opened(tmp_path, data[:at] + b"abcd" + data[at + 4 :])
    with pytest.raises(SourceError, match="but the zip declares 64636261"):
        source.index()
    index = source.index(salvage=True)
    assert contents(source, index) == MEMBERS
    assert index.salvaged


@pytest.fixture
def broken(tmp_path):
    """Give a tar in a zip whose deflated data are corrupt in the middle of its third member, and its four members."""
    members = {f"m{number}": content(number, 1_500_000) for number in range(4)}
    whole = tar(members)
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(whole[:3_700_000]) + packer.flush(zlib.Z_FULL_FLUSH) + b"\x07" * 600  # no block begins so
    sizes = {10: struct.pack("<H", 8), 16: struct.pack("<I", zlib.crc32(whole)), 24: struct.pack("<I", len(whole))}
    return opened(tmp_path, patched(zipped({"all.tar": packed}, zipfile.ZIP_STORED), "all.tar", central=sizes)), members


def test_a_deflated_tar_that_breaks_keeps_the_members_before(broken):
    """The member in which it breaks is not taken; which of the others a flipped bit spoiled nobody can tell."""
    source, members = broken
    with pytest.raises(SourceError, match=r"broken at byte [\d,]+: the deflated data are corrupt"):
        source.index()
    index = source.index(salvage=True)
    assert contents(source, index) == {name: members[name] for name in ("m0", "m1")}
    assert "its CRC-32 covers the tar as a whole" in index.findings[0].message


def test_reading_on_behind_a_break_gives_errors(broken, tmp_path):
    """Members that an earlier index listed: those before the break come as they are, each other one is named."""
    source, members = broken
    (tmp_path / "whole").mkdir()
    listed = opened(tmp_path / "whole", zipped({"all.tar": tar(members)})).index().members
    got = list(source.read(listed))
    assert [bytes(one) for one in got[:2]] == [members["m0"], members["m1"]]
    assert [str(one).split(": ")[0] for one in got[2:]] == [f"{source.url}!/m2", f"{source.url}!/m3"]
    assert all("the source is broken at byte " in str(one) for one in got[2:])


NESTED = {"top": b"t", "in/x": b"1", "in/deep/y": b"2", "inner.zip": zipped(), "inner.tar": tar(), "in-not": b"3"}
ZIP = {"zip": zipped(NESTED), "stored": zipped(NESTED, zipfile.ZIP_STORED), "tar": tar(NESTED)}


@pytest.mark.parametrize(
    ("outer", "chain", "kind", "sequential"),
    [
        ("tar", "tar://inner.tar", "tar", False),
        ("tar", "tar://inner.zip", "zip", False),
        ("zip", "zip://inner.tar", "tar in zip", True),
        ("stored", "zip:///inner.tar", "tar", False),
        ("stored", "zip://inner.zip", "zip", False),
    ],
)
def test_chains_open_the_archive_inside(tmp_path, outer, chain, kind, sequential):
    opened(tmp_path, ZIP[outer])
    source = open_source(f"{chain}::{tmp_path / 'crops'}")
    assert (source.kind, source.sequential) == (kind, sequential)
    assert source.url == f"{tmp_path / 'crops'}!/{chain.split('/')[-1]}"
    assert contents(source) == MEMBERS


@pytest.mark.parametrize("outer", ZIP)
@pytest.mark.parametrize("inner", ["in", "in/", "/in"])
def test_chains_open_a_folder_inside(tmp_path, outer, inner):
    """Only what lies below it, without its name; what merely begins with the same letters is not below it."""
    opened(tmp_path, ZIP[outer])
    source = open_source(f"{ZIP_SCHEME[outer]}://{inner}::{tmp_path / 'crops'}")
    assert contents(source) == {"x": b"1", "deep/y": b"2"}
    assert (source.name, source.url) == ("crops!/in", f"{tmp_path / 'crops'}!/in")
    assert (source.size, source.kind, source.sequential) == (len(ZIP[outer]), ZIP_SCHEME[outer], False)
    assert source.token() == open_source(str(tmp_path / "crops")).token()


ZIP_SCHEME = {"zip": "zip", "stored": "zip", "tar": "tar"}


@pytest.mark.parametrize("outer", ["zip", "tar"])
def test_chains_without_an_inner_path_say_what_is_expected(tmp_path, outer):
    opened(tmp_path, ZIP[outer])
    assert list(contents(open_source(f"{outer}://::{tmp_path / 'crops'}"))) == list(NESTED)
    wrong = {"zip": "tar", "tar": "zip"}[outer]
    with pytest.raises(SourceError, match=f"expected a {wrong}, found a {outer}"):
        open_source(f"{wrong}://::{tmp_path / 'crops'}")


@pytest.mark.parametrize(
    ("outer", "inner", "message"),
    [
        ("zip", "gone", "expected a member or a folder 'gone' inside it"),
        ("tar", "gone/", "expected a member or a folder 'gone/' inside it"),
        ("tar", "top", "found neither"),
        ("zip", "inner.zip", "expected a tar, for nothing else is read from inside a deflated member"),
    ],
)
def test_chains_to_nothing_are_refused(tmp_path, outer, inner, message):
    opened(tmp_path, ZIP[outer])
    with pytest.raises(SourceError) as caught:
        open_source(f"{outer}://{inner}::{tmp_path / 'crops'}")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "simplecache::https://me:canary@host/x.tar",
        "zip://a::tar://b::https://host/x?canary",
        "reference://::https://me:canary@host/x.json",
        "ftp://me:canary@host/x.tar",
    ],
)
def test_other_chains_and_schemes_are_refused(url):
    """And no credentials of theirs are repeated."""
    with pytest.raises(UsageError) as caught:
        open_source(url)
    assert "canary" not in str(caught.value)
