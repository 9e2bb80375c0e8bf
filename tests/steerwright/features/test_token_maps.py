"""Token maps against dense activations, on grids that are not square; resumed, and in any order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.features.token_maps import TokenMaps, TokenMapsSource, TokenMapsWriter
from steerwright.sae.latents import SparseLatents
from steerwright.sae.site import Site

Sparse = Callable[[Tensor], SparseLatents]


def source(images: int = 5, **changed: Any) -> TokenMapsSource:
    known = {
        "sae": "late", "key": "k", "size": 9, "site": Site(), "step": 8, "grid": (3, 4),
        "images": tuple(f"p{n}-0" for n in range(images)),
    }  # fmt: skip
    return TokenMapsSource.model_validate(known | changed)


def test_maps_are_the_dense_activations_on_their_grid(
    tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor]
) -> None:
    dense = activations_of(5, 12, 9, signed=True)
    dense[1] = 0
    with TokenMapsWriter(tmp_path, source()) as writer:
        writer.add([0, 1, 2], sparse_of(dense[:3].flatten(0, 1)))
        writer.add([3, 4], sparse_of(dense[3:].flatten(0, 1)))
    maps = TokenMaps.open(tmp_path)
    expected = dense.permute(0, 2, 1).reshape(5, 9, 3, 4).numpy()
    np.testing.assert_array_equal(maps.maps(range(5), range(9)), expected)
    np.testing.assert_array_equal(maps.maps([4, 0, 4], [7, 2]), expected[[4, 0, 4]][:, [7, 2]])
    for image, latent in [(0, 0), (1, 3), (4, 8), (2, 5)]:
        np.testing.assert_array_equal(maps.map(image, latent), expected[image, latent])
    np.testing.assert_array_equal(maps.active(), (dense != 0).sum((1, 2)).numpy())


def test_one_active_token_lights_its_own_place_alone(tmp_path: Path, sparse_of: Sparse) -> None:
    dense = torch.zeros(12, 9)
    dense[6, 4] = 2.5  # row 1, column 2 of three rows of four
    with TokenMapsWriter(tmp_path, source(images=1)) as writer:
        writer.add(0, sparse_of(dense))
    expected = np.zeros((3, 4))
    expected[1, 2] = 2.5
    maps = TokenMaps.open(tmp_path)
    np.testing.assert_array_equal(maps.map(0, 4), expected)
    assert not maps.maps([0], [0, 1, 2, 3, 5, 6, 7, 8]).any()


def test_tokens_that_were_left_out_keep_the_others_in_place(tmp_path: Path, sparse_of: Sparse) -> None:
    here = np.array([0, 2, 3, 5, 6, 7, 8, 9, 10, 11])
    dense = torch.zeros(10, 9)
    dense[:, 0] = torch.arange(1.0, 11.0)
    with TokenMapsWriter(tmp_path, source(images=1)) as writer:
        with pytest.raises(ValueError, match="say where they are"):
            writer.add(0, sparse_of(dense))
        writer.add(0, sparse_of(dense), here)
    np.testing.assert_array_equal(TokenMaps.open(tmp_path).map(0, 0), [[1, 0, 2, 3], [0, 4, 5, 6], [7, 8, 9, 10]])


def test_order_and_kills_do_not_show_in_the_files(
    tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor]
) -> None:
    dense = activations_of(5, 12, 9)
    with TokenMapsWriter(tmp_path / "whole", source()) as writer:
        writer.add(range(5), sparse_of(dense.flatten(0, 1)))
    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt), TokenMapsWriter(folder, source()) as writer:
        writer.add([3, 1], sparse_of(dense[[3, 1]].flatten(0, 1)))
        raise KeyboardInterrupt
    with (folder / ".values").open("ab") as file:
        file.write(b"half of an image")
    with pytest.raises(UserError, match="not finished"):
        TokenMaps.open(folder)
    with TokenMapsWriter(folder, source()) as writer:
        assert writer.pending == [0, 2, 4]
        writer.add([3, 4, 1], sparse_of(dense[[0, 4, 0]].flatten(0, 1)))  # 3 and 1 are there already
        assert writer.pending == [0, 2]
        for image in (1, 0, 2):
            writer.add(image, sparse_of(dense[image]))
    assert files(folder) == files(tmp_path / "whole")
    assert sorted(files(folder)) == ["latents.npy", "manifest.json", "offsets.npy", "tokens.npy", "values.npy"]
    with TokenMapsWriter(folder, source()) as writer:
        assert writer.pending == []
    assert files(folder) == files(tmp_path / "whole")
    with pytest.raises(ValueError, match="5 of 5 images are missing"), TokenMapsWriter(folder, source(key="other")):
        pass


def test_half_precision_halves_the_values_and_refuses_what_it_cannot_hold(tmp_path: Path, sparse_of: Sparse) -> None:
    dense = torch.zeros(12, 9)
    dense[3, 1] = 1.5
    with TokenMapsWriter(tmp_path, source(images=1, dtype="float16")) as writer:
        dense[4, 1] = 70_000.0
        with pytest.raises(ValueError, match="70000 do not fit float16"):
            writer.add(0, sparse_of(dense))
        dense[4, 1] = 0.1
        writer.add(0, sparse_of(dense))
    maps = TokenMaps.open(tmp_path)
    assert maps.values.dtype == np.float16
    assert maps.map(0, 1)[0, 3] == 1.5 and maps.map(0, 1)[1, 0] == np.float16(0.1)


def test_images_without_any_active_latent(tmp_path: Path, sparse_of: Sparse) -> None:
    with TokenMapsWriter(tmp_path, source(images=2)) as writer:
        writer.add([0, 1], sparse_of(torch.zeros(24, 9)))
    maps = TokenMaps.open(tmp_path)
    assert not maps.maps([0, 1], range(9)).any() and maps.active().tolist() == [0, 0]


def test_unknown_images_and_latents_are_refused(
    tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor]
) -> None:
    with TokenMapsWriter(tmp_path, source()) as writer:
        writer.add(range(5), sparse_of(activations_of(5, 12, 9).flatten(0, 1)))
        with pytest.raises(ValueError, match="there are 5 images"):
            writer.add(5, sparse_of(activations_of(1, 12, 9)[0]))
    maps = TokenMaps.open(tmp_path)
    for image, latent in [(5, 0), (-1, 0), (0, 9), (0, -1)]:
        with pytest.raises(ValueError, match="not"):
            maps.map(image, latent)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
