"""The restricted unpickler: reads what numpy writes, and runs nothing that a pickle names."""

import os
import pickle
import random
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrscope.errors import DecodeError
from zarrscope.readers import standins
from zarrscope.readers.pickled import MAX_BYTES, unpickle

PROTOCOLS = range(6)

STEDFM = {
    "image-id": "0f1b0f1b-1111-3aaa-8aaa-0123456789ab",
    "chan-id": "STED_640 {12}",
    "key": "a1" * 32,
    "msr-metadata": {
        "AcquisitionDate": None,
        "PhysicalSizeX": 1.5e-8,
        "PhysicalSizeXUnit": "\N{MICRO SIGN}m",
        "SizeX": 1200,
        "flags": [True, False, -1, 2**40],
    },
}

CASES = {
    "none": (None, None),
    "bool": (True, True),
    "int": (-(2**63), -(2**63)),
    "text": ("\N{GREEK SMALL LETTER BETA} \N{SNOWMAN} \N{GRINNING FACE}", "\N{GREEK SMALL LETTER BETA} ☃ 😀"),
    "lone surrogate": ("a\ud800", "a\\ud800"),
    "bytes": (b"ab\xff", "ab\\xff"),
    "no bytes": (b"", ""),
    "bytearray": (bytearray(b"ab"), "ab"),
    "tuple": ((1, (), (2, 3, 4, 5)), [1, [], [2, 3, 4, 5]]),
    "set": ({7}, [7]),
    "frozenset": (frozenset({7}), [7]),
    "complex": (1 - 2j, [1.0, -2.0]),
    "float64": (np.float64(1.5), 1.5),
    "uint8": (np.uint8(200), 200),
    "bool_": (np.bool_(True), True),
    "str_": (np.str_("\N{MICRO SIGN}m"), "\N{MICRO SIGN}m"),
    "bytes_": (np.bytes_(b"nm"), "nm"),
    "big-endian scalar": (np.array(258, ">u2")[()], 258),
    "array": (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
    "transposed array": (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
    "big-endian array": (np.arange(3, dtype=">i4"), [0, 1, 2]),
    "array of text": (np.array(["a", "bcd"]), ["a", "bcd"]),
    "array of complex": (np.array([1j]), [[0.0, 1.0]]),
    "array without axes": (np.array(2.5), 2.5),
    "empty array": (np.zeros((2, 0)), [[], []]),
    "array of objects": (np.array([[1, None], ["a", {"b": 2}]], object), [[1, None], ["a", {"b": 2}]]),
    "transposed array of objects": (np.array([[1, None, 3], ["a", 2, 4]], object).T, [[1, "a"], [None, 2], [3, 4]]),
    "shared": ([[1]] * 3, [[1], [1], [1]]),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("value", "plain"), CASES.values(), ids=CASES)
def test_reads_plain_values(value, plain, protocol):
    """Whatever is plain, or numpy's form of it, comes back plain from every protocol."""
    found = unpickle(pickle.dumps(value, protocol=protocol))
    assert found == plain
    assert type(found) is type(plain)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reads_what_savez_pickles(protocol):
    """An array without axes is its one value; its shape can be asked for."""
    data = pickle.dumps(np.array(STEDFM, object), protocol=protocol)
    assert unpickle(data, ()) == STEDFM
    with pytest.raises(DecodeError, match=r"of shape \(1,\)"):
        unpickle(data, (1,))


def as_numpy_1(data):
    """Rewrite a pickle of protocol 3, where module names stand on lines of their own, as numpy 1 wrote it."""
    assert b"cnumpy._core." in data
    return data.replace(b"cnumpy._core.", b"cnumpy.core.")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
def test_reads_pickles_of_numpy_1(protocol):
    value = {"array": np.arange(4.0), "scalar": np.float32(0.5), "objects": np.array([STEDFM], object)}
    plain = {"array": [0.0, 1.0, 2.0, 3.0], "scalar": 0.5, "objects": [STEDFM]}
    assert unpickle(as_numpy_1(pickle.dumps(value, protocol=protocol))) == plain


def test_reads_pickles_of_numpy_1_with_frames():
    """At protocols 4 and 5 the names are counted text within a frame: both counts change."""
    data = pickle.dumps(np.arange(3.0), protocol=5)
    name = b"\x8c\x13numpy._core.numeric"
    assert name in data
    data = data.replace(name, b"\x8c\x12numpy.core.numeric")
    (length,) = struct.unpack_from("<Q", data, 3)
    assert unpickle(data[:3] + struct.pack("<Q", length - 1) + data[11:]) == [0.0, 1.0, 2.0]


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5),
    max_leaves=25,
)


@given(value=plain_values, protocol=st.sampled_from(PROTOCOLS))
@settings(max_examples=200, deadline=None)
def test_round_trip(value, protocol):
    """What JSON could hold comes back as it was."""
    assert unpickle(pickle.dumps(value, protocol=protocol)) == value


# Attacks. Each would, read by Python's own unpickler, run something, change something, or take too much.

CANARY = "ZARRSCOPE_CANARY"


class _Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _text(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _name(module, name):
    return _text(module) + _text(name) + b"\x93"


DTYPE = _name("numpy", "dtype")
NEW_DTYPE = DTYPE + _text("f8") + b"\x89\x88\x87R"
NEW_ARRAY = _name("numpy._core.multiarray", "_reconstruct") + _name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
LAUGHS = b"(lp0\n" + b"".join(b"0(" + b"g%d\n" % (n - 1) * 10 + b"lp%d\n" % n for n in range(1, 12)) + b"."

ATTACKS = {
    "os.system": (pickle.dumps(_Calls(os.system, f"export {CANARY}=1")), "posix.system"),
    "eval": (pickle.dumps(_Calls(eval, f"__import__('os').environ.setdefault('{CANARY}', '1')")), "builtins.eval"),
    "exec, protocol 0": (pickle.dumps(_Calls(exec, f"{CANARY} = 1"), protocol=0), "__builtin__.exec"),
    "putenv": (pickle.dumps(_Calls(os.putenv, CANARY, "1")), "posix.putenv"),
    "getattr": (pickle.dumps(_Calls(getattr, 1, "real")), "builtins.getattr"),
    "subprocess": (pickle.dumps(_Calls(subprocess.Popen, ["true"])), "subprocess.Popen"),
    "f2py": (b"\x80\x04" + _name("numpy.f2py.diagnose", "run_command") + b")R.", "numpy.f2py.diagnose.run_command"),
    "runstring": (b"\x80\x04" + _name("numpy.testing._private.utils", "runstring") + b")R.", "utils.runstring"),
    "numpy.load": (b"\x80\x04" + _name("numpy", "load") + b")R.", "numpy.load"),
    "dotted": (b"\x80\x04" + _name("numpy", "ndarray.tofile") + b")R.", "numpy.ndarray.tofile"),
    "whole list of names as module": (b"\x80\x04]\x8c\x01a\x93.", "a name that is no text"),
    "persistent id": (b"Pfile\n.", "PERSID"),
    "binary persistent id": (b"\x80\x04K\x01Q.", "BINPERSID"),
    "instance": (b"(S'x'\nios\nsystem\n.", "STRING"),
    "instance, no arguments": (b"(ios\nsystem\n.", "INST"),
    "object": (b"(cos\nsystem\no.", "os.system"),
    "object operation": (b"\x80\x04(" + DTYPE + b"o.", "OBJ"),
    "new object": (b"\x80\x04" + DTYPE + b")\x81.", "NEWOBJ"),
    "new object with names": (b"\x80\x04" + DTYPE + b")}\x92.", "NEWOBJ_EX"),
    "extension": (b"\x80\x04\x82\x01.", "EXT1"),
    "next buffer": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    "read-only buffer": (b"\x80\x05C\x00\x98.", "READONLY_BUFFER"),
    "change of a class": (b"\x80\x04" + DTYPE + b"}" + _text("__init__") + b"Nsb.", "a change of numpy.dtype"),
    "change of a function": (b"\x80\x04" + _name("_codecs", "encode") + b"}b.", "a change of _codecs.encode"),
    "state of a dtype": (
        b"\x80\x04" + NEW_DTYPE + b"(K\x03" + _text("<") + b"N" + _text("x") + b"NK\0K\0K\0tb.",
        "a change",
    ),
    "two states of a dtype": (
        b"\x80\x04" + NEW_DTYPE + 2 * (b"(K\x03" + _text("<") + b"NNNK\0K\0K\0tb") + b".",
        "a change",
    ),
    "state of an array": (b"\x80\x04" + NEW_ARRAY + b"(K\x01K\x64\x85" + NEW_DTYPE + b"\x89C\x01atb.", "800 bytes"),
    "negative shape": (b"\x80\x04" + NEW_ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + NEW_DTYPE + b"\x89C\0tb.", "shape"),
    "array that is not filled": (b"\x80\x04" + NEW_ARRAY + b".", "without"),
    "subclass": (
        b"\x80\x04" + _name("numpy._core.multiarray", "_reconstruct") + DTYPE + b"K\0\x85C\x01b\x87R.",
        "class",
    ),
    "call of a class": (b"\x80\x04" + _name("numpy", "ndarray") + b"K\x7f\x85R.", "a call of numpy.ndarray"),
    "call of a value": (b"\x80\x04" + _text("eval") + b")R.", "a call of a value"),
    "name as value": (b"\x80\x04" + _name("builtins", "set") + b".", "builtins.set"),
    "dtype as value": (b"\x80\x04" + NEW_DTYPE + b".", "numpy.dtype"),
    "structured dtype": (b"\x80\x04" + DTYPE + _text("f8,O") + b"\x89\x88\x87R.", "the element type 'f8,O'"),
    "datetime": (pickle.dumps(np.datetime64("2020-01-01")), "the element type 'M8'"),
    "wide elements": (b"\x80\x04" + DTYPE + _text("U100000") + b"\x89\x88\x87R.", "the element type"),
    "text that is none": (
        b"\x80\x04"
        + _name("numpy._core.multiarray", "scalar")
        + DTYPE
        + _text("U1")
        + b"\x89\x88\x87RC\4"
        + b"\xff" * 4
        + b"\x86R.",
        "no characters",
    ),
    "many axes": (
        b"\x80\x04"
        + _name("numpy._core.numeric", "_frombuffer")
        + b"(C\0"
        + NEW_DTYPE
        + b"("
        + b"K\x01" * 9
        + b"t"
        + _text("C")
        + b"tR.",
        "shape",
    ),
    "huge empty array": (
        b"\x80\x04"
        + _name("numpy._core.numeric", "_frombuffer")
        + b"(C\0"
        + NEW_DTYPE
        + b"J\xff\xff\x0f\0J\xff\xff\x0f\0K\0\x87"
        + _text("C")
        + b"tR.",
        "more than",
    ),
    "text codec": (b"\x80\x04" + _name("_codecs", "encode") + _text("a") + _text("rot13") + b"\x86R.", "latin1"),
    "set of a call": (b"\x80\x04" + _name("builtins", "set") + b")\x85R.", "a set that"),
    "bytes of a number": (b"\x80\x04" + _name("builtins", "bytearray") + b"J\xff\xff\xff\x7f\x85R.", "bytes that"),
    "memo bomb": (b"\x80\x04Nr\xff\xff\xff\x7f.", "a memo"),
    "negative memo": (b"Np-5\n.", "a memo"),
    "unknown memo": (b"\x80\x04h\x05.", "malformed"),
    "billion laughs": (LAUGHS, "more than"),
    "list in itself": (b"\x80\x04]\x94h\0a.", "deep"),
    "array in itself": (
        b"\x80\x04" + NEW_ARRAY + b"\x94(K\x01)" + DTYPE + _text("O8") + b"\x89\x88\x87R\x89]h\0atb.",
        "deep",
    ),
    "deep lists": (b"\x80\x04" + b"]" * 90_000 + b"a" * 89_999 + b".", "deep"),
    "deep tuples in a set": (b"\x80\x04\x8f()" + b"\x85" * 90_000 + b"\x90.", "deep"),
    "huge integer": (b"\x80\x04\x8b" + struct.pack("<i", 9_000) + b"\x7f" * 9_000 + b".", "64 bits"),
    "huge integer as text": (b"L" + b"9" * 5_000 + b"L\n.", "malformed"),
    "negative length": (b"\x80\x04\x8b\xff\xff\xff\xff.", "expected -1 bytes"),
    "long text": (b"\x80\x04\x8d" + b"\xff" * 8 + b"a.", "expected"),
    "bytes after the end": (pickle.dumps({}) + b"N.", "after it"),
    "two values": (b"\x80\x04NN.", "one value"),
    "no value": (b"\x80\x04.", "one value"),
    "open mark": (b"\x80\x04(N.", "unfinished"),
    "no end": (b"\x80\x04N", "malformed"),
    "nothing": (b"", "malformed"),
    "long frame": (b"\x80\x04\x95" + struct.pack("<Q", 99) + b"N.", "a frame"),
    "protocol 6": (b"\x80\x06N.", "protocol"),
    "unknown operation": (b"\x80\x04\xff.", "0xff"),
    "too many operations": (b"\x80\x04" + b"N0" * 100_001 + b"N.", "operations"),
    "too many bytes": (b"N" * (MAX_BYTES + 1), "at most"),
    "number as key": (pickle.dumps({1: 2}), "key of type int"),
    "keys that are written alike": (pickle.dumps({"\ud800": 1, "\\ud800": 2}), "alike"),
    "item of a number": (b"\x80\x04K\x01NNs.", "something else"),
    "many sets of one list": (
        b"\x80\x04](" + b"N" * 40_000 + b"e\x94" + (_name("builtins", "set") + b"h\0\x85R0") * 40 + b"N.",
        "more than",
    ),
    "many bytes of one text": (
        b"\x80\x04X"
        + struct.pack("<I", 200_000)
        + b"a" * 200_000
        + b"\x94"
        + (_name("_codecs", "encode") + b"h\0" + _text("latin1") + b"\x86R0") * 40
        + b"N.",
        "more than",
    ),
}


@pytest.mark.parametrize(("data", "reason"), ATTACKS.values(), ids=ATTACKS)
def test_attacks_have_no_effect(data, reason):
    """Each is refused with its reason, and neither the process nor a stand-in is changed."""
    before = dict(os.environ), set(sys.modules), dict(standins.NAMES)
    with pytest.raises(DecodeError, match=r".") as caught:
        unpickle(data)
    assert reason in str(caught.value)
    assert (dict(os.environ), set(sys.modules), dict(standins.NAMES)) == before
    assert unpickle(pickle.dumps(np.arange(2))) == [0, 1]


def test_a_refused_name_is_said_in_full():
    with pytest.raises(DecodeError) as caught:
        unpickle(ATTACKS["os.system"][0])
    assert str(caught.value) == "refused to unpickle posix.system: an npz may hold only plain values."


def test_mutated_pickles_decode_or_are_refused():
    """No damage to a real pickle gets past the errors that are promised."""
    value = {
        **STEDFM,
        "array": np.arange(3.0),
        "scalar": np.float32(1),
        "set": {1},
        "objects": np.array([1, "a"], object),
    }
    originals = [pickle.dumps(np.array(value, object), protocol=protocol) for protocol in PROTOCOLS]
    rng = random.Random(0)
    refused = 0
    for number in range(6_000):
        data = bytearray(originals[number % len(originals)])
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(data))
            match rng.randrange(4):
                case 0:
                    data[place] = rng.randrange(256)
                case 1:
                    data[place] ^= 1 << rng.randrange(8)
                case 2:
                    del data[place : place + rng.randint(1, 8)]
                case _:
                    data[place:place] = data[rng.randrange(len(data)) :][: rng.randint(1, 8)]
        try:
            unpickle(bytes(data))
        except DecodeError:
            refused += 1
    assert 1_000 < refused < 6_000
