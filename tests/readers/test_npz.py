"""The npz reader: views of what numpy.savez stores, and nothing else than that."""

import io
import pickle
import random
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zarrscope.errors import DecodeError
from zarrscope.readers.npz import decode_npz

IMAGE = np.arange(224 * 224, dtype=np.uint16).reshape(224, 224)  # each pixel carries its own index
METADATA = {"image-id": "a", "chan-id": 0, "msr-metadata": {"SizeX": 1200, "PhysicalSizeX": 1.5e-8, "tags": ["x"]}}


def save(writer=np.savez, **values):
    file = io.BytesIO()
    writer(file, **values)
    return file.getvalue()


def npy(header, content=b"", version=(1, 0)):
    """Write an npy file with a header of one's own."""
    text = header.encode("latin1") + b"\n"
    count = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + count + text + content


def zipped(*members, method=zipfile.ZIP_STORED):
    """Zip members of one's own, with plain headers as ``zipfile`` writes them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_reads_an_npz_of_stedfm(writer, wrap):
    """Keys come in the order of the file, pixels as they were, objects as plain values that can't be changed."""
    values = decode_npz(wrap(save(writer, image=IMAGE, metadata=METADATA)))
    assert list(values) == ["image", "metadata"]
    assert values["image"].dtype == IMAGE.dtype
    np.testing.assert_array_equal(values["image"], IMAGE)
    assert not values["image"].flags.writeable
    assert values["metadata"] == METADATA
    for fields in (values["metadata"], values["metadata"]["msr-metadata"]):
        assert isinstance(fields, Mapping)
        with pytest.raises(TypeError):
            fields["SizeX"] = 0


def test_stored_pixels_are_not_copied():
    """The array lies inside the bytes that were given."""
    data = save(image=IMAGE)
    pixels = decode_npz(data)["image"]
    assert np.shares_memory(pixels, np.frombuffer(data, np.uint8))


def test_equal_pickles_are_read_once():
    """The crops of one image share one object; another image has its own."""
    one, two = (decode_npz(save(image=IMAGE + shift, metadata=METADATA))["metadata"] for shift in (0, 1))
    other = decode_npz(save(image=IMAGE, metadata={**METADATA, "chan-id": 1}))["metadata"]
    assert one is two
    assert other["chan-id"] == 1


@given(
    arrays=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=9),
        hnp.arrays(
            hnp.integer_dtypes() | hnp.unsigned_integer_dtypes() | hnp.floating_dtypes() | hnp.boolean_dtypes(),
            hnp.array_shapes(max_dims=5, max_side=5, min_side=0),
        ),
        max_size=4,
    ),
    fortran=st.booleans(),
    writer=st.sampled_from([np.savez, np.savez_compressed]),
)
@settings(max_examples=100, deadline=None)
def test_agrees_with_numpy(arrays, fortran, writer):
    """Whatever numpy writes, in any byte or memory order, is read as numpy reads it."""
    arrays = {key: np.asfortranarray(array) if fortran else array for key, array in arrays.items()}
    data = save(writer, **{key: array for key, array in arrays.items() if key not in {"file", "writer"}})
    values = decode_npz(data)
    with np.load(io.BytesIO(data)) as expected:
        assert list(values) == list(expected)
        for key, array in expected.items():
            assert values[key].dtype == array.dtype
            assert values[key].flags.f_contiguous == array.flags.f_contiguous
            np.testing.assert_array_equal(values[key], array)


VALUES = {
    "number": (np.float64(2.5), 2.5),
    "complex number": (np.complex64(1 - 2j), [1.0, -2.0]),
    "lone surrogate": (np.array(["\ud800"]), ["\\ud800"]),
    "no texts": (np.zeros((2, 0), "U1"), [[], []]),
    "text": (np.array("\N{MICRO SIGN}m"), "\N{MICRO SIGN}m"),
    "texts": (np.array([["a"], ["bc"]]), [["a"], ["bc"]]),
    "objects": (np.array([[1, "a"], [None, (2, 3)]], object), [[1, "a"], [None, [2, 3]]]),
    "no objects": (np.array([], object), []),
}


@pytest.mark.parametrize(("value", "plain"), VALUES.values(), ids=VALUES)
def test_other_values_are_plain(value, plain):
    """Numbers without axes, text and objects come as plain values."""
    assert decode_npz(save(value=value)) == {"value": plain}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_reads_every_version_of_npy(version):
    """Versions 2 and 3 count the header with four bytes; spaces and the order of the fields don't matter."""
    header = "{'shape':(2,3),'fortran_order': False , 'descr': '>u2'}"
    values = decode_npz(zipped(("a.npy", npy(header, bytes(range(12)), version))))
    assert values["a"].tolist() == [[1, 515, 1029], [1543, 2057, 2571]]


def header(descr="'<u2'", order="False", shape="(2, 3)", more=""):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {more}}}"


BAD_NPY = {
    "not npy": (b"\x89PNG\r\n\x1a\n" + bytes(99), "version 1 to 3"),
    "empty": (b"", "version 1 to 3"),
    "version 4": (npy(header(), bytes(12), (4, 0)), "version 1 to 3"),
    "long header": (npy(header() + " " * 5_000, bytes(12)), "at most 4096"),
    "header cut": (npy(header())[:40], "version 1 to 3"),
    "no dict": (npy("[1, 2, 3]", bytes(12)), "one plain type"),
    "a call": (npy(header(shape="(print(1),)"), bytes(12)), "one plain type"),
    "missing field": (npy("{'descr': '<u2', 'shape': (2, 3)}", bytes(12)), "one plain type"),
    "double field": (npy(header(more="'shape': (9,)"), bytes(12)), "one plain type"),
    "unknown field": (npy(header(more="'x': True"), bytes(12)), "one plain type"),
    "structured": (npy(header("[('a', '<u2')]"), bytes(12)), "one plain type"),
    "structured text": (npy(header("'u2,u2'"), bytes(24)), "found 'u2,u2'"),
    "subarray": (npy(header("'(2,)O'"), bytes(24)), "numbers, text or objects"),
    "datetime": (npy(header("'<M8[ns]'"), bytes(48)), "numbers, text or objects"),
    "void": (npy(header("'|V2'"), bytes(12)), "numbers, text or objects"),
    "bytes": (npy(header("'|S2'"), bytes(12)), "numbers, text or objects"),
    "no text": (npy(header("'<U0'"), b""), "numbers, text or objects"),
    "text without items": (npy(header("'<U1'", shape="(1000000000, 0)"), b""), "more than"),
    "text that is none": (npy(header("'<U1'", shape="(1,)"), b"\xff" * 4), "no characters"),
    "negative shape": (npy(header(shape="(-2, 3)"), bytes(12)), "one plain type"),
    "nine axes": (npy(header(shape="(1, 1, 1, 1, 1, 1, 1, 2, 3)"), bytes(12)), "at most 8 axes"),
    "too short": (npy(header(), bytes(11)), "expected 12 bytes"),
    "too long": (npy(header(), bytes(13)), "expected 12 bytes"),
    "a million million items": (npy(header(shape="(1000000, 1000000)"), bytes(12)), "2000000000000 bytes"),
    "an axis too long": (npy(header(shape="(0, 99999999999999999999)"), b""), "of shape"),
    "object that is no array": (npy(header("'|O'", shape="()"), pickle.dumps({})), "pickled array"),
    "object of another shape": (npy(header("'|O'", shape="(2,)"), pickle.dumps(np.array({}, object))), "pickled array"),
    "object that calls": (npy(header("'|O'", shape="()"), pickle.dumps(print)), "refused to unpickle builtins.print"),
}


@pytest.mark.parametrize(("content", "reason"), BAD_NPY.values(), ids=BAD_NPY)
def test_refuses_bad_npy(content, reason):
    """Nothing is allocated or run on the word of a header."""
    with pytest.raises(DecodeError) as caught:
        decode_npz(zipped(("a.npy", content)))
    assert reason in str(caught.value)


GOOD = save(image=IMAGE[:4, :5], metadata=METADATA)
CENTRAL = GOOD.index(b"PK\x01\x02")


def patched(place, new, data=GOOD):
    return data[:place] + new + data[place + len(new) :]


def deflated(size):
    """Zip zeros, and say in both headers that they are ``size`` bytes."""
    data = bytearray(
        zipped(("a.npy", npy(header("'|u1'", shape="(1000000,)"), bytes(1_000_000))), method=zipfile.ZIP_DEFLATED)
    )
    struct.pack_into("<L", data, 22, size)
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 24, size)
    return bytes(data)


def streamed():
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, piece):
            self.data += bytes(piece)
            return len(piece)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        archive.writestr("a.npy", npy(header(), bytes(12)))
    return pipe.data


with pytest.warns(UserWarning, match="Duplicate name"):
    TWICE = zipped(*2 * [("a.npy", npy(header(), bytes(12)))])

BAD_ZIP = {
    "empty": (b"", "expected an npz file"),
    "page of HTML": (b"<!DOCTYPE html><html>" + bytes(99), "<!DOCTYPE html>"),
    "one npy": (npy(header(), bytes(12)), "expected an npz file"),
    "cut": (GOOD[:-1], "is cut"),
    "bytes after": (GOOD + b"\0", "bytes after"),
    "bytes before": (b"\0" + GOOD, "zip directory"),
    "a comment": (GOOD[:-2] + b"\x01\0!", "is cut"),
    "encrypted": (patched(6, b"\1", patched(CENTRAL + 8, b"\1")), "is encrypted"),
    "streamed": (streamed(), "zip flags 0x0008"),
    "another method": (patched(8, b"\x0c", patched(CENTRAL + 10, b"\x0c")), "method 12"),
    "headers that differ": (patched(14, b"\0\0\0\0"), "to agree"),
    "names that differ": (patched(30, b"j"), "to agree"),
    "wrong checksum": (patched(14, b"\0\0\0\0", patched(CENTRAL + 16, b"\0\0\0\0")), "CRC-32"),
    "pixel flipped": (patched(200, bytes([GOOD[200] ^ 1])), "CRC-32"),
    "wrong sizes": (patched(CENTRAL + 20, b"\xff" * 8), "to agree"),
    "wrong offset": (patched(CENTRAL + 42, b"\1"), "to start at byte 0"),
    "directory elsewhere": (patched(len(GOOD) - 6, b"\0\0\0\0"), "zip directory"),
    "fewer members listed": (patched(len(GOOD) - 14, b"\1\0\1\0"), "that are none"),
    "more members listed": (patched(len(GOOD) - 14, b"\3\0\3\0"), "expected"),
    "zip64": (patched(len(GOOD) - 14, b"\xff\xff\xff\xff"), "zip64"),
    "twice": (TWICE, "found 'a' twice"),
    "another kind of file": (zipped(("a.txt", b"")), "KEY.npy"),
    "a name that is no text": (zipped(("a.npy", npy(header(), bytes(12)))).replace(b"a.npy", b"\xff.npy"), "KEY.npy"),
    "unpacks to more": (deflated(1_000), "another number"),
    "unpacks to less": (deflated(2_000_000), "another number"),
    "not deflated": (patched(8, b"\x08", patched(CENTRAL + 10, b"\x08")), "another number"),
    "never deflated": (patched(59, b"\x07", patched(8, b"\x08", patched(CENTRAL + 10, b"\x08"))), "deflated, found"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_ZIP.values(), ids=BAD_ZIP)
def test_refuses_bad_zips(data, reason):
    """Whatever is not exactly a zip of npy files is refused, with what was found."""
    with pytest.raises(DecodeError) as caught:
        decode_npz(data)
    assert reason in str(caught.value)


def test_an_empty_npz_has_no_values():
    assert decode_npz(save()) == {}


def test_every_flipped_bit_is_noticed():
    """Outside of times and attributes no bit can change unseen: both headers and the checksum cover it."""
    directory = {*range(CENTRAL, len(GOOD))}
    unused = {place + start for place in (10, 11, 12, 13, 4, 5) for start in (0, GOOD.index(b"PK\x03\x04", 4))}
    expected = decode_npz(GOOD)
    for place in range(len(GOOD)):
        try:
            values = decode_npz(patched(place, bytes([GOOD[place] ^ 0x10])))
        except DecodeError:
            continue
        assert place in directory | unused, place
        np.testing.assert_array_equal(values["image"], expected["image"])
        assert values["metadata"] == expected["metadata"]


def test_every_cut_is_noticed():
    for stop in range(len(GOOD)):
        with pytest.raises(DecodeError):
            decode_npz(GOOD[:stop])


def test_deflated_members_have_a_budget():
    """A file of a few kilobytes can't unpack to more than is allowed, in all its members together."""
    data = zipped(
        *((f"{n}.npy", npy(header("'|u1'", shape="(1000000,)"), bytes(1_000_000))) for n in range(3)), method=8
    )
    assert len(decode_npz(data, max_unpacked=3_001_000)) == 3
    with pytest.raises(DecodeError, match="refused to unpack"):
        decode_npz(data, max_unpacked=2_500_000)


def test_a_bomb_is_stopped_before_it_is_unpacked():
    """What is unpacked is bounded by what the headers say, and that by the budget."""
    content = zlib.compress(bytes(50_000_000), 9)
    data = deflated(100)
    assert len(content) > len(data)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode_npz(data)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_mutated_files_decode_or_are_refused():
    """Damage with its checksums mended, so that it reaches the npy files, is refused as promised."""
    rng = random.Random(0)
    contents = {name: zipfile.ZipFile(io.BytesIO(GOOD)).read(name) for name in ("image.npy", "metadata.npy")}
    for _ in range(2_000):
        members = []
        for name, content in contents.items():
            damaged = bytearray(content)
            for _ in range(rng.randrange(3)):
                damaged[rng.randrange(min(200, len(damaged)))] = rng.randrange(256)
            members.append((name, bytes(damaged)))
        try:
            decode_npz(zipped(*members))
        except DecodeError as error:
            assert str(error).startswith(("expected", "refused"))  # noqa: PT017
