"""Reading GGUF files of strangers: what the gguf package writes, and whatever damage or malice makes of it."""

import struct
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steerwright.errors import UserError
from steerwright.vectors.formats.gguf import LARGEST_FILE, read_layout


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "x.gguf"
    writer = gguf.GGUFWriter(path, "controlvector")
    for name, add in (("u8", writer.add_uint8), ("i16", writer.add_int16), ("u64", writer.add_uint64)):
        add(name, 7)
    writer.add_float64("f64", 0.5)
    writer.add_array("array", [1.5, 2.5])
    writer.add_string("text", "né")
    writer.add_tensor("one", np.arange(5, dtype=np.float32))
    writer.add_tensor("two", np.arange(6, dtype=np.float16).reshape(2, 3))
    writer.add_tensor("three", np.arange(3, dtype=np.float64))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_it_reads_what_the_gguf_package_reads(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(whole)
    found = read_layout(path)
    assert found.architecture == "controlvector"
    theirs = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    assert list(found.tensors) == list(theirs)
    for name, values in theirs.items():
        assert found.tensors[name].dtype == np.float32
        assert np.array_equal(found.tensors[name], values.astype(np.float32))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_a_message_or_harmless(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    start = time.monotonic()
    try:
        found = read_layout(path)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert sum(values.size for values in found.tensors.values()) <= len(whole)
    assert time.monotonic() - start < 5


def header(*, tensors: int = 0, values: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, values)


def key(name: bytes, kind: int) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no GGUF file"),
        (b"PK\x03\x04", "is no GGUF file"),
        (b"GGUF", "ends after 4 bytes"),
        (header(version=1), "is not read: it is of version 1, and"),
        (header(version=0x03000000), "is not read: it is of version 3 in big-endian order"),
        (header(version=77), "is damaged: it is of version 77"),
        (header(values=2**60), "claims 1152921504606846976 entries"),
        (header(tensors=2**63), "claims"),
        # An array of 2^62 numbers, for which the gguf package's reader would go round and round.
        (header(values=1) + key(b"a", 9) + struct.pack("<IQ", 4, 2**62) + b"\0" * 12, "claims 4611686018427387904"),
        (header(values=1) + key(b"a", 9) + struct.pack("<IQ", 9, 1) + b"\0" * 12, "array of arrays"),
        (header(values=1) + key(b"a", 77) + b"\0" * 12, "unknown type 77"),
        (header(values=1) + key(b"a", 8) + struct.pack("<Q", 2) + b"\xff\xfe" + b"\0" * 12, "damaged"),
        (header(values=1) + key(b"general.alignment", 4) + struct.pack("<I", 0), "alignment is 0"),
        (
            header(tensors=1) + struct.pack("<Q", 1) + b"x" + struct.pack("<IQIQ", 1, 2**40, 0, 0) + b"\0" * 64,
            "beyond its end",
        ),
        (
            header(tensors=1) + struct.pack("<Q", 1) + b"x" + struct.pack("<IQIQ", 1, 32, 2, 0) + b"\0" * 64,
            "is not read: .* of type 2",
        ),
        (header(tensors=1) + struct.pack("<Q", 1) + b"x" + struct.pack("<I", 9) + b"\0" * 64, "9 dimensions"),
    ],
)
def test_numbers_that_lie_are_caught_at_once(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(UserError, match=message):
        read_layout(path)
    assert time.monotonic() - start < 1


def test_a_missing_and_a_huge_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        read_layout(tmp_path / "none.gguf")
    huge = tmp_path / "huge.gguf"
    with huge.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(UserError, match="has 256 MiB"):
        read_layout(huge)
