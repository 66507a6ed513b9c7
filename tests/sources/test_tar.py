"""The tar walk: healthy archives agree with tarfile, and no damage goes unnoticed."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.archives import END, content, contents, entry, header, opened, pax, tar
from zarrscope.errors import SourceError
from zarrscope.sources import open_source

SMALL = {f"m{number}": content(number, 700) for number in range(4)}  # each takes 512 + 1,024 bytes
STEP = 1536
WAYS = pytest.mark.parametrize("way", ["file", "deflated"])


@WAYS
def test_every_cut_is_noticed(tmp_path, way):
    """A tar cut at any block is refused with the byte; salvage takes exactly the members that are whole."""
    whole = tar(SMALL)
    for cut in range(512, len(SMALL) * STEP + 1024, 512):
        source = opened(tmp_path, whole[:cut], way)
        with pytest.raises(SourceError, match=r"broken at byte [\d,]+: "):
            source.index()
        index = source.index(salvage=True)
        assert index.members.names.tolist() == list(SMALL)[: cut // STEP], cut
        assert index.salvaged
        assert [finding.kind for finding in index.findings] == ["archive"]
        assert contents(source, index) == dict(list(SMALL.items())[: cut // STEP])


@WAYS
@pytest.mark.parametrize("cut", [len(SMALL) * STEP + 1024, len(SMALL) * STEP + 1030, 10_240])
def test_both_end_blocks_are_enough(tmp_path, way, cut):
    assert contents(opened(tmp_path, tar(SMALL)[:cut], way)) == SMALL


@pytest.mark.parametrize("cut", [1, 511, STEP + 100, STEP + 512 + 699, STEP + 512 + 701, 4 * STEP + 1023])
def test_cuts_within_blocks_are_noticed(tmp_path, cut):
    """A member is whole when its content is, though its padding may be lost."""
    path = tmp_path / "cut"
    path.write_bytes(tar(SMALL)[:cut])
    with pytest.raises(SourceError):
        open_source(str(path)).index()
    if cut > 512:
        names = open_source(str(path)).index(salvage=True).members.names.tolist()
        assert names == list(SMALL)[: (cut + STEP - 512 - 700) // STEP]


@pytest.mark.parametrize(("start", "way"), [(0, "file"), (STEP, "file"), (STEP, "deflated")])
def test_every_flipped_header_bit_is_noticed(tmp_path, start, way):
    """The checksum covers all 512 bytes; only the filling around its own digits may turn from NUL to space."""
    whole = tar(SMALL)
    healthy = opened(tmp_path, whole).index().members
    harmless = []
    for at in range(start, start + 512):
        for bit in range(8) if way == "file" else [at % 8]:
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            try:
                members = opened(tmp_path, bytes(damaged), way).index().members
            except SourceError as error:
                assert start == 0 or f"broken at byte {start:,}: " in str(error)  # noqa: PT017  # both answers are right
                continue
            assert members.names.tolist() == healthy.names.tolist()
            assert members.offsets.tolist() == healthy.offsets.tolist()
            harmless.append(at - start)
    assert set(harmless) <= {148, 154, 155}


DAMAGED = {
    "one block of zeros inside": (entry(b"a") + bytes(512) + entry(b"b") + END, 512, "a hole: one block of zeros"),
    "a hole": (entry(b"a") + bytes(4096) + entry(b"b") + END, 512, "a second archive begins at byte 4,608"),
    "a second tar appended": (tar(SMALL) + tar(SMALL), 4 * STEP, "a second archive begins at byte 10,240"),
    "a second tar after short ends": (
        entry(b"a") + END + entry(b"a") + END,
        512,
        "second archive begins at byte 1,536",
    ),
    "other bytes appended": (entry(b"a") + END + b"<html>", 512, "other bytes follow at byte 1,536"),
    "a lone block of zeros": (entry(b"a") + bytes(512), 512, "one block of zeros and 0 bytes"),
    "one and a half blocks": (entry(b"a") + bytes(768), 512, "one block of zeros and 256 bytes"),
    "a size beyond the end": (
        entry(b"a") + header(b"b", b"00077777777\0") + END,
        512,
        "but the data end at byte 2,048",
    ),
    "a huge size": (entry(b"a") + header(b"b", b"\x80" + b"\x7f" * 11) + END, 512, "'b' declares "),
    "a negative size": (entry(b"a") + header(b"b", b"\xff" * 12) + END, 512, "a negative size, -1"),
    "a size of letters": (entry(b"a") + header(b"b", b"0x10\0") + END, 512, "expected octal digits"),
    "a size with a sign": (entry(b"a") + header(b"b", b"-10\0") + END, 512, "expected octal digits"),
    "a size with underscores": (entry(b"a") + header(b"b", b"1_0\0") + END, 512, "expected octal digits"),
    "a pax size of words": (
        entry(b"a") + entry(b"p", pax(size="1e3"), b"x") + entry(b"b") + END,
        1536,
        "declares the size b'1e3'",
    ),
    "a pax size beyond the end": (
        entry(b"a") + entry(b"p", pax(size="9" * 20), b"x") + entry(b"b") + END,
        1536,
        "declares 99,999,999,999,999,999,999 bytes",
    ),
    "a pax record of a wrong length": (
        entry(b"a") + entry(b"p", b"99 path=x\n", b"x") + END,
        512,
        "a malformed record",
    ),
    "a pax record without an end": (entry(b"a") + entry(b"p", b"9 path=xy", b"x") + END, 512, "a malformed record"),
    "a pax header of 65 kB": (entry(b"a") + entry(b"p", bytes(65_537), b"x") + END, 512, "the most is 65,536"),
    "a long name of 65 kB": (entry(b"a") + entry(b"p", bytes(65_537), b"L") + END, 512, "the most is 65,536"),
    "a pax header cut off": (entry(b"a") + header(b"p", b"00000000700\0", b"x"), 512, "inside an extended header"),
    "a pax header alone": (entry(b"a") + entry(b"p", pax(path="b"), b"x") + END, 1536, "that no member follows"),
    "a sparse map cut off": (
        entry(b"a") + header(b"s", kind=b"S", extended=b"\1"),
        1024,
        "the data end inside the map of a sparse file",
    ),
    "text in place of a header": (entry(b"a") + b"x" * 512 + END, 512, "expected a tar header, found b'xxxx"),
}


@WAYS
@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named_and_what_stands_before_is_salvaged(tmp_path, way, case):
    """The message gives the byte and what was found there; salvage keeps the members before and says so."""
    data, byte, found = DAMAGED[case]
    source = opened(tmp_path, data, way)
    with pytest.raises(SourceError) as caught:
        source.index()
    assert f"broken at byte {byte:,}: " in str(caught.value)
    assert found in str(caught.value)
    index = source.index(salvage=True)
    assert index.members.names.tolist() == (["a"] if data.startswith(b"a") else list(SMALL))
    assert index.salvaged
    assert f"broken at byte {byte:,}: " in index.findings[0].message


LONG = "long/" * 40 + "β"
ODD = {
    "folder": (entry(b"d", kind=b"5"), "d/", None),
    "folder of v7": (entry(b"d//", kind=b"\0", magic=bytes(8)), "d/", None),
    "v7 file": (entry(b"x", b"data", kind=b"\0", magic=bytes(8)), "x", b"data"),
    "contiguous file": (entry(b"x", b"data", kind=b"7"), "x", b"data"),
    "prefix": (entry(b"name", b"data", prefix=b"some/folder"), "some/folder/name", b"data"),
    "GNU times are no prefix": (entry(b"name", b"data", magic=b"ustar  \0", prefix=b"14000000000"), "name", b"data"),
    "GNU long name": (entry(b"././@LongLink", LONG.encode() + b"\0", b"L") + entry(b"long", b"data"), LONG, b"data"),
    "GNU long link": (entry(b"././@LongLink", b"y" * 200, b"K") + entry(b"l", kind=b"2"), "l", "a symbolic link"),
    "pax name": (entry(b"p", pax(path=LONG), b"x") + entry(b"short", b"data"), LONG, b"data"),
    "pax name of Solaris": (entry(b"p", pax(path=LONG), b"X") + entry(b"short", b"data"), LONG, b"data"),
    "pax size": (entry(b"p", pax(size="4"), b"x") + header(b"x") + b"data" + bytes(508), "x", b"data"),
    "global header": (entry(b"g", pax(comment="of a commit"), b"g") + entry(b"x", b"data"), "x", b"data"),
    "base-256 size": (header(b"x", b"\x80" + bytes(10) + b"\4") + b"data" + bytes(508), "x", b"data"),
    "size with spaces": (header(b"x", b"         4 \0") + b"data" + bytes(508), "x", b"data"),
    "absolute": (entry(b"/etc/passwd", b"data"), "/etc/passwd", b"data"),
    "parent folder": (entry(b"../../x", b"data"), "../../x", b"data"),
    "drive": (entry(b"C:\\x", b"data"), "C:\\x", b"data"),
    "not UTF-8": (entry(b"\xe9t\xe9", b"data"), "\\xe9t\\xe9", b"data"),
    "hard link": (entry(b"x", kind=b"1", link=b"y"), "x", "a hard link"),
    "hard link with a size": (header(b"x", b"00000007777\0", b"1", link=b"y"), "x", "a hard link"),
    "symbolic link": (entry(b"x", kind=b"2", link=b"/etc/passwd"), "x", "a symbolic link"),
    "character device": (entry(b"x", kind=b"3"), "x", "a character device"),
    "block device": (entry(b"x", kind=b"4"), "x", "a block device"),
    "pipe": (entry(b"x", kind=b"6"), "x", "a named pipe"),
    "unknown type": (entry(b"x", b"data", kind=b"Z"), "x", "of a type that is not known, 'Z'"),
    "sparse": (entry(b"x", b"data", kind=b"S"), "x", "a sparse file"),
    "sparse with a long map": (
        header(b"x", b"%011o\0" % 4, b"S", extended=b"\1")
        + b"\1".rjust(505, b"\0")
        + bytes(7 + 512)
        + b"data"
        + bytes(508),
        "x",
        "a sparse file",
    ),
    "sparse in pax": (
        entry(b"p", pax(GNU_sparse_major="1", GNU_sparse_name="true"), b"x") + entry(b"x", b"data"),
        "true",
        "a sparse file",
    ),
    "NUL in a pax name": (entry(b"p", pax(path=b"a\0b"), b"x") + entry(b"x"), "a\\x00b", "its name holds a NUL"),
    "no name": (entry(b"", b"data"), "", "it has no name"),
}


@WAYS
@pytest.mark.parametrize("case", ODD)
def test_odd_members_have_a_defined_answer(tmp_path, way, case):
    """Names are data, whatever they look like; what is no regular file is listed, named and never followed."""
    data, name, answer = ODD[case]
    source = opened(tmp_path, entry(b"before", b"1") + data + entry(b"after", b"2") + END, way)
    got = contents(source)
    assert list(got) == ["before", name, "after"]
    if isinstance(answer, str):
        assert got[name] == f"{source.url}!/{name}: {answer}."
    else:
        assert got[name] == (answer or b"")
    assert (got["before"], got["after"]) == (b"1", b"2")


def test_the_historic_signed_checksum_is_taken(tmp_path):
    block = bytearray(entry(b"\xe9\xe9", b"data"))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in block[:512])
    assert contents(opened(tmp_path, bytes(block) + END)) == {"\\xe9\\xe9": b"data"}


def test_a_pax_name_is_for_one_member_only(tmp_path):
    data = entry(b"p", pax(path="long"), b"x") + entry(b"a", b"1") + entry(b"b", b"2") + END
    assert contents(opened(tmp_path, data)) == {"long": b"1", "b": b"2"}


def test_duplicates_are_all_listed_in_order(tmp_path):
    """Which one keeps the row is not for a source to say."""
    source = opened(tmp_path, entry(b"x", b"1") + entry(b"y", b"2") + entry(b"x", b"3") + END)
    members = source.index().members
    assert members.names.tolist() == ["x", "y", "x"]
    assert [bytes(got) for got in source.read(members)] == [b"1", b"2", b"3"]


def test_a_file_that_shrank_gives_errors_for_the_members_lost(tmp_path):
    """The index came from a whole file: what is gone since is named one by one."""
    source = opened(tmp_path, tar(SMALL))
    members = source.index().members
    with (tmp_path / "crops").open("r+b") as file:
        file.truncate(2 * STEP + 600)
    got = list(source.read(members))
    assert [bytes(one) for one in got[:2]] == [SMALL["m0"], SMALL["m1"]]
    assert [str(one) for one in got[2:]] == [
        f"{source.url}!/{name}: the source ends at byte {2 * STEP + 600:,}." for name in ("m2", "m3")
    ]


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300).filter(
    lambda name: not name.endswith("/")
)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@settings(max_examples=60, deadline=None)
@given(members=st.lists(st.tuples(NAMES, st.integers(0, 2000), FORMATS), min_size=1, max_size=12))
def test_healthy_archives_agree_with_tarfile(members):
    """Names, sizes and offsets are those that Python's tarfile finds, whatever the format of each member."""
    data = b""
    for number, (name, size, flavour) in enumerate(members):
        info = tarfile.TarInfo(name)
        info.size = size
        try:
            data += info.tobuf(flavour) + content(number, size) + bytes(-size % 512)
        except ValueError:  # a name too long for ustar
            info.name = f"short{number}"
            data += info.tobuf(flavour) + content(number, size) + bytes(-size % 512)
    data += END
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(info.name, info.size, info.offset_data) for info in archive]
    with tempfile.TemporaryDirectory() as folder:
        source = opened(Path(folder), data)
        index = source.index()
        assert [(member.name, member.size, member.offset) for member in index.members] == expected
        read = [bytes(got) for got in source.read(index.members)]
    assert read == [content(number, size) for number, (_, size, _) in enumerate(members)]
