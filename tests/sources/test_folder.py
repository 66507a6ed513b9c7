"""Folders: every file is a member, nothing outside is reached, and one lost file is one error."""

from __future__ import annotations

import os
import uuid

import fsspec
import numpy as np
import pytest

from sources.archives import contents
from zarrscope.errors import SourceError, TemporaryError
from zarrscope.model import Member, Members
from zarrscope.sources import open_source


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    for name, data in {"b.tif": b"2", "a/x.tif": b"1", "a-b.tif": b"3"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_names_are_sorted_as_text(folder):
    """The order does not depend on how a disk lists a folder, nor on where the separators are."""
    assert list(contents(open_source(str(folder)))) == ["a-b.tif", "a/x.tif", "b.tif"]


def test_links_and_pipes_are_listed_and_never_followed(folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (folder / "c-link").symlink_to(tmp_path / "secret")
    (folder / "d-link").symlink_to(tmp_path)
    (folder / "e-gone").symlink_to("nowhere")
    os.mkfifo(folder / "f-pipe")
    source = open_source(str(folder))
    got = contents(source)
    for name in ("c-link", "d-link", "e-gone"):
        assert got[name] == f"{source.url}!/{name}: a link, and links are not followed."
    assert got["f-pipe"] == f"{source.url}!/f-pipe: neither a file nor a folder."
    assert list(got) == ["a-b.tif", "a/x.tif", "b.tif", "c-link", "d-link", "e-gone", "f-pipe"]


def test_hidden_entries_are_counted(folder):
    """A clone brings its history along; that is nobody's data, and it is said."""
    (folder / ".git").mkdir()
    (folder / ".git" / "objects").write_bytes(b"history")
    (folder / "a" / ".DS_Store").write_bytes(b"desktop")
    index = open_source(str(folder)).index()
    assert index.members.names.tolist() == ["a-b.tif", "a/x.tif", "b.tif"]
    assert [str(finding) for finding in index.findings] == [
        f"{folder}: 2 hidden entries are left aside: .git, a/.DS_Store"
    ]


def test_hidden_entries_of_an_object_store_are_counted():
    root = f"memory://{uuid.uuid4().hex}"
    filesystem, path = fsspec.core.url_to_fs(root)
    filesystem.pipe({f"{path}/x": b"1", f"{path}/.git/a": b"2", f"{path}/.git/b": b"3"})
    index = open_source(root).index()
    assert index.members.names.tolist() == ["x"]
    assert index.findings[0].message == "1 hidden entries are left aside: .git"


def test_names_that_are_not_text_are_refused(folder):
    (folder / os.fsdecode(b"\xe9.tif")).write_bytes(b"x")
    got = contents(open_source(str(folder)))
    assert str(got["\\xe9.tif"]).endswith("!/\\xe9.tif: its name is not UTF-8: rename it.")


CHANGES = {
    "gone": (lambda path: path.unlink(), "it is gone since it was listed"),
    "grown": (lambda path: path.write_bytes(b"12"), "it had 1 bytes when it was listed"),
    "shrunk": (lambda path: path.write_bytes(b""), "it had 1 bytes when it was listed"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "it can't be read"),
    "a link": (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "it can't be read"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_files_that_changed_are_errors_of_their_own(folder, change):
    act, reason = CHANGES[change]
    source = open_source(str(folder))
    members = source.index().members
    act(folder / "a/x.tif")
    first, changed, last = source.read(members)
    assert reason in str(changed)
    assert str(changed).startswith(f"{source.url}!/a/x.tif: ")
    assert [bytes(first), bytes(last)] == [b"3", b"2"]


def test_objects_that_are_gone_are_errors_of_their_own():
    root = f"memory://{uuid.uuid4().hex}"
    filesystem, path = fsspec.core.url_to_fs(root)
    filesystem.pipe({f"{path}/x": b"1", f"{path}/y": b"2"})
    source = open_source(root)
    members = source.index().members
    filesystem.rm(f"{path}/x")
    gone, there = source.read(members)
    assert str(gone) == f"{root}!/x: no such file."
    assert bytes(there) == b"2"


def test_storage_that_does_not_answer_is_no_fault_of_a_member(monkeypatch):
    """A member is quarantined for good: a lost connection must not do that. Nor does its text show an address."""
    root = f"memory://{uuid.uuid4().hex}"
    filesystem, path = fsspec.core.url_to_fs(root)
    filesystem.pipe({f"{path}/x": b"1"})
    source = open_source(root)
    members = source.index().members

    def fail(*_arguments, **_options):
        raise ConnectionResetError("GET https://host/x?X-Signature=canary")

    monkeypatch.setattr(type(filesystem), "cat_file", fail)
    with pytest.raises(TemporaryError) as caught:
        list(source.read(members))
    assert str(caught.value) == f"{root}/x: can't be read (ConnectionResetError). Try again."
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "", "a\0b"])
def test_nothing_outside_is_reached(folder, tmp_path, name):
    """A list of members may come from a file that somebody edited."""
    (tmp_path / "secret").write_text("secret")
    (got,) = open_source(str(folder)).read(Members.of([Member(name=name, size=6)]))
    assert str(got).endswith("no name of a file below this folder.")


def test_closed_folders_refuse_the_source(folder, monkeypatch):
    """What lies in it nobody knows: salvage leaves it out, and says so."""
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("data/a/"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", lambda path: scandir(f"{path}/"))
    with pytest.raises(SourceError, match="the folder 'a' may not be read"):
        open_source(str(folder)).index()
    index = open_source(str(folder)).index(salvage=True)
    assert index.salvaged
    assert index.members.names.tolist() == ["a-b.tif", "b.tif"]


def test_an_empty_folder_has_no_members(tmp_path):
    source = open_source(str(tmp_path))
    assert len(source.index().members) == 0
    assert list(source.read(source.index().members.take(np.zeros(0, np.int64)))) == []


def test_a_folder_that_vanished_is_refused(folder):
    source = open_source(str(folder))
    folder.rename(folder.with_name("moved"))
    with pytest.raises(SourceError, match="no such folder"):
        source.index()
