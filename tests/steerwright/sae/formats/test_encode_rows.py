from pathlib import Path

import numpy as np
import pytest
import torch

from steerwright.errors import UserError
from steerwright.sae.activations import Relu, TopK
from steerwright.sae.formats import registry as module
from steerwright.sae.formats.registry import encode_rows, read_rows, write_npz
from steerwright.sae.sae import Sae


def identity(activation: TopK | Relu) -> Sae:
    """Latent f of a row is its number f, where that is positive (or chosen)."""
    return Sae(torch.eye(4), torch.zeros(4), torch.eye(4), torch.zeros(4), activation)


def test_places_are_as_many_as_the_fullest_row_has_and_the_most_active_come_first() -> None:
    rows = np.array([[0.5, 2.0, -1.0, 1.0], [-1, -1, -1, -1], [0, 0, 3, 0]], np.float32)
    found = encode_rows(identity(Relu()), rows)
    assert found["indices"].tolist() == [[1, 3, 0], [-1, -1, -1], [2, -1, -1]]
    assert found["values"].tolist() == [[2.0, 1.0, 0.5], [0, 0, 0], [3.0, 0, 0]]
    assert found["reconstruction"].tolist() == [[0.5, 2.0, 0, 1.0], [0, 0, 0, 0], [0, 0, 3.0, 0]]
    assert found["indices"].dtype == np.int64
    assert found["values"].dtype == found["reconstruction"].dtype == np.float32
    # k = 3 leaves a place for each, but no row uses more than two.
    assert encode_rows(identity(TopK(3)), rows[1:])["indices"].tolist() == [[-1], [2]]


def test_no_active_latents_and_no_rows_have_no_places() -> None:
    found = encode_rows(identity(Relu()), -np.ones((2, 4), np.float32))
    assert found["indices"].shape == found["values"].shape == (2, 0)
    found = encode_rows(identity(Relu()), np.zeros((0, 4), np.float32))
    assert found["indices"].shape == (0, 0) and found["reconstruction"].shape == (0, 4)
    assert found["indices"].dtype == np.int64 and found["values"].dtype == np.float32


def test_batches_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).standard_normal((37, 4)).astype(np.float32)
    whole = encode_rows(identity(Relu()), rows)
    monkeypatch.setattr(module, "_PRE_ACTIVATIONS", 20)
    found = encode_rows(identity(Relu()), rows)
    assert all(np.array_equal(found[name], whole[name]) for name in whole)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_rows_of_other_floats_are_encoded_in_float32(dtype: type) -> None:
    rows = np.array([[0.5, 2.0, -1.0, 1.0]], dtype)
    found = encode_rows(identity(TopK(2)), rows)
    assert found["values"].dtype == np.float32 and found["values"].tolist() == [[2.0, 1.0]]


def test_a_row_that_is_not_finite_is_named() -> None:
    rows = np.zeros((5, 4), np.float32)
    rows[3, 1] = np.nan
    with pytest.raises(UserError, match="Row 3 holds what is not a finite number"):
        encode_rows(identity(Relu()), rows)


def test_only_an_array_of_rows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    with pytest.raises(UserError, match="There is no file of rows"):
        read_rows(path, 4)
    for wrong, message in (
        (np.zeros((3, 5), np.float32), "5 wide, but the autoencoder is for 4"),
        (np.zeros((2, 3, 4), np.float32), r"float32 of shape \[2, 3, 4\]; rows are floats \[rows, 4\]"),
        (np.zeros((3, 4), np.int64), "int64 of shape"),
    ):
        np.save(path, wrong)
        with pytest.raises(UserError, match=message):
            read_rows(path, 4)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read"):
        read_rows(path, 4)
    np.savez(tmp_path / "several.npz", a=np.zeros(2))
    with pytest.raises(UserError, match="several arrays"):
        read_rows(tmp_path / "several.npz", 4)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_rows(path, 4)


def test_a_file_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_npz(tmp_path / "no" / "out.npz", {"a": np.zeros(2)})
    write_npz(tmp_path / "out.npz", {"a": np.arange(3)})
    with np.load(tmp_path / "out.npz") as found:
        assert found["a"].tolist() == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]


def test_tensors_are_rows_and_other_things_are_refused_as_they_are_in_a_file() -> None:
    rows = torch.tensor([[0.5, 2.0, -1.0, 1.0]])
    wanted = encode_rows(identity(TopK(2)), rows.numpy())
    for given in (rows, rows.bfloat16(), rows.tolist()):
        found = encode_rows(identity(TopK(2)), given)  # type: ignore[arg-type]
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    for wrong, message in (
        (np.zeros((2, 4), np.int64), "int64 of shape"),
        (np.zeros(4, np.float32), r"shape \[4\]; rows are floats \[rows, 4\]"),
        (np.zeros((2, 5), np.float32), "5 wide, but the autoencoder is for 4"),
    ):
        with pytest.raises(UserError, match=message):
            encode_rows(identity(Relu()), wrong)
