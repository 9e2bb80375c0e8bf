"""A foreign pickle is read as numbers; one that asks for anything else is refused, and nothing in it runs."""

import builtins
import collections
import io
import os
import pickle
import struct
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steerwright.errors import UserError
from steerwright.vectors.formats.restricted_pickle import PickledArray, read_pickle

# numpy's own, as its arrays name it.
RECONSTRUCT: Any = np.ones(1).__reduce__()[0]


def steps(kind: Any = np.float32) -> dict[int, defaultdict[str, list[Any]]]:
    """Two steps in the layout of seed 002, written as its code does: a defaultdict(list) for each step."""
    rng = np.random.default_rng(0)
    layout: dict[int, defaultdict[str, list[Any]]] = {}
    for step in range(2):
        layout[step] = defaultdict(list)
        for place, widths in (("down", (3, 5)), ("mid", (5,)), ("up", (5, 3, 3))):
            for width in widths:
                layout[step][place].append(rng.standard_normal(width).astype(kind))
    return layout


def written(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("plain", [False, True], ids=["defaultdict", "dict"])
def test_every_array_is_read_as_pickle_itself_reads_it(tmp_path: Path, protocol: int, kind: Any, plain: bool) -> None:
    layout: Any = steps(kind)
    if plain:
        layout = {step: dict(places) for step, places in layout.items()}
    path = written(tmp_path / "v.pkl", layout, protocol)
    found, expected = read_pickle(path), pickle.loads(path.read_bytes())
    assert list(found) == list(expected)
    for step, places in expected.items():
        assert {place: len(arrays) for place, arrays in found[step].items()} == {"down": 2, "mid": 1, "up": 3}
        for place, arrays in places.items():
            for mine, theirs in zip(found[step][place], arrays, strict=True):
                assert type(mine) is PickledArray and mine.shape == theirs.shape
                assert np.array_equal(mine.values, theirs) and mine.values.dtype.itemsize == theirs.dtype.itemsize


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_of_numpy_1_are_read(tmp_path: Path, protocol: int) -> None:
    # numpy 2 moved `core` to `_core`; both names have to do.
    data = pickle.dumps(np.arange(4, dtype=np.float32), protocol)
    if protocol == 2:
        old = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    else:
        name = b"numpy._core.multiarray"
        old = data.replace(
            b"\x8c" + bytes([len(name)]) + name, b"\x8c" + bytes([len(name) - 1]) + b"numpy.core.multiarray"
        )
        # The frame is a byte shorter.
        size = struct.unpack("<Q", old[3:11])[0]
        old = old[:3] + struct.pack("<Q", size - 1) + old[11:]
    assert old != data
    assert np.array_equal(read_pickle(written(tmp_path / "v.pkl", old)).values, [0, 1, 2, 3])


class Calls:
    """Pickles as a call of `function`, as every attack does."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


def hostile(marker: Path) -> dict[str, tuple[Any, str]]:
    """Pickles that would make `marker`, or do other harm, each with a word that the refusal must hold."""
    shell, code = f"touch '{marker}'", f"open({str(marker)!r}, 'w').close()"
    nested = defaultdict(list)
    nested["up"].append(Calls(os.system, shell))
    stolen = steps()
    stolen[1]["mid"] = [Calls(builtins.eval, code)]  # type: ignore[list-item]
    return {
        "system": (Calls(os.system, shell), "posix.system"),
        "eval": (Calls(builtins.eval, code), "builtins.eval"),
        "exec": (Calls(builtins.exec, code), "builtins.exec"),
        "popen": (Calls(subprocess.Popen, ["touch", str(marker)]), ".Popen"),
        "touch": (Calls(Path.touch, marker), ""),
        "deep": ({0: nested}, "posix.system"),
        "in a good file": (stolen, "builtins.eval"),
        "fromfile": (Calls(np.fromfile, str(marker)), "fromfile"),
        "load": (Calls(np.load, str(marker), None, True), "numpy.load"),
        "memmap": (Calls(np.memmap, str(marker), "f4", "w+", 0, (4,)), "memmap"),
        "factory": (Calls(defaultdict, os.getcwd), "posix.getcwd"),
        "factory set later": (Calls(defaultdict, list, state={"default_factory": os.getcwd}), "posix.getcwd"),
        "counter": (collections.Counter("aab"), "collections.Counter"),
        "scalar": ({0: np.float32(1)}, "scalar"),
        "objects": (np.array([Calls(os.system, shell)], object), "O8"),
        "list called": (Calls(list, "abc"), "builtins.list"),
        "other array": (Calls(RECONSTRUCT, np.recarray, (0,), b"b"), "recarray"),
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", hostile(Path("m")))
def test_a_hostile_pickle_is_refused_by_name_and_runs_nothing(tmp_path: Path, name: str, protocol: int) -> None:
    marker = tmp_path / "marker"
    content, named = hostile(marker)[name]
    path = written(tmp_path / "v.pkl", content, protocol)
    with pytest.raises(UserError, match=r"v\.pkl was refused, and nothing in it was run") as caught:
        read_pickle(path)
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert not marker.exists()


def test_the_same_pickles_do_run_where_nothing_stops_them(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for name in ("system", "eval", "exec", "touch", "deep", "in a good file", "memmap", "objects"):
        pickle.loads(pickle.dumps(hostile(marker)[name][0]))
        assert marker.exists(), name
        marker.unlink()


# Written instruction by instruction: pickle itself would not write these.
BY_HAND = {
    "old instance": b"\x80\x02(S'id'\nios\nsystem\n.",
    "object": b"\x80\x02(cos\nsystem\nX\x02\x00\x00\x00ido.",
    "new object": b"\x80\x02cbuiltins\nobject\n)\x81.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
    "submodule": b"\x80\x04\x8c\x0fnumpy.ctypeslib\x8c\x0cload_library\x93.",
    "attributes of a name": b"\x80\x02cnumpy\ndtype\n}U\x05_makeU\x01xsb.",
    "outside object": b"\x80\x02U\x01xQ.",
}


@pytest.mark.parametrize("name", BY_HAND)
def test_instructions_that_no_vectors_need_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="was refused, and nothing in it was run"):
        read_pickle(written(tmp_path / "v.pkl", BY_HAND[name]))


def test_an_attack_on_what_is_allowed_leaves_nothing_behind_for_the_next_file(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_pickle(written(tmp_path / "evil.pkl", BY_HAND["attributes of a name"]))
    assert np.array_equal(read_pickle(written(tmp_path / "v.pkl", np.ones(2, np.float32))).values, [1, 1])


def array_with_state(*state: Any) -> bytes:
    """An array's pickle with a forged state."""
    return pickle.dumps(Calls(RECONSTRUCT, np.ndarray, (0,), b"b", state=state), 4)


@pytest.mark.parametrize(
    "content",
    [
        array_with_state(1, (4,), np.dtype("f4"), False, b"\0" * 8),
        array_with_state(1, (-1,), np.dtype("f4"), False, b""),
        array_with_state(1, (2**62, 4), np.dtype("f4"), False, b""),
        array_with_state(1, ("a",), np.dtype("f4"), False, b""),
        array_with_state(1, 3, np.dtype("f4"), False, b"\0" * 12),
        array_with_state(1, (1,)),
        b"\x80\x04K\x01r\xff\xff\xff\x7f.",  # memo number 2^31 - 1: some Pythons reserve 34 GB for it
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x00.",  # 2^56 bytes that are not there
        b"\x80\x04.",
        b"\x80\x04K",
        b"\x80",
        b"\x80\x63N.",
    ],
)
def test_a_pickle_that_contradicts_itself_is_damaged_and_takes_no_memory(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"v\.pkl is damaged"):
        read_pickle(written(tmp_path / "v.pkl", content))


def test_wherever_a_file_is_cut_it_is_damaged(tmp_path: Path) -> None:
    whole = pickle.dumps(steps(), 4)
    for end in range(1, len(whole), 7):
        with pytest.raises(UserError, match="is damaged"):
            read_pickle(written(tmp_path / "v.pkl", whole[:end]))


def test_whatever_byte_is_wrong_the_answer_is_a_message_or_other_numbers(tmp_path: Path) -> None:
    whole = pickle.dumps(steps(), 2)
    rng = np.random.default_rng(1)
    for _ in range(400):
        at, value = int(rng.integers(1, len(whole))), int(rng.integers(256))
        try:
            read_pickle(written(tmp_path / "v.pkl", whole[:at] + bytes([value]) + whole[at + 1 :]))
        except UserError as error:
            assert "v.pkl" in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no pickle of protocol 2 or newer"),
        (b"PK\x03\x04torch", "no pickle of protocol 2 or newer"),
        (b"ID,Prompt\n1,a house\n", "no pickle of protocol 2 or newer"),
        (pickle.dumps({0: 1}, 0), "no pickle of protocol 2 or newer"),
        (struct.pack("<Q", 2) + b"{}", "a safetensors file; vectors in that format need no import"),
    ],
)
def test_what_is_no_pickle_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_pickle(written(tmp_path / "v.pkl", content))


def test_a_missing_and_a_huge_file_are_named_unread(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_pickle(tmp_path / "none.pkl")
    huge = tmp_path / "huge.pkl"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="has 1099511627776 bytes"):
        read_pickle(huge)


def test_a_second_pickle_behind_the_first_is_not_read(tmp_path: Path) -> None:
    both = io.BytesIO()
    pickle.dump({0: 1}, both)
    pickle.dump(Calls(os.system, f"touch '{tmp_path / 'marker'}'"), both)
    assert read_pickle(written(tmp_path / "v.pkl", both.getvalue())) == {0: 1}
    assert not (tmp_path / "marker").exists()
