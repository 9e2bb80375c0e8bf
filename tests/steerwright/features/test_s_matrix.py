"""The S matrix against the definition on dense activations; resumed, and refused where it is not finished."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.features.entries import write_at
from steerwright.features.s_matrix import SMatrix, SMatrixSource, SMatrixWriter, top_tokens
from steerwright.sae.latents import SparseLatents
from steerwright.sae.site import Site

Sparse = Callable[[Tensor], SparseLatents]


def source(images: int = 7, size: int = 9, **changed: object) -> SMatrixSource:
    known = {
        "sae": "early", "key": "k", "size": size, "site": Site(hookpoint="transformer_blocks.1:out"), "step": 8,
        "grid": (3, 4), "images": tuple(f"p{n}-0" for n in range(images)), "top_share": 0.25,
    }  # fmt: skip
    return SMatrixSource.model_validate(known | changed)


def brute_force(dense: Tensor, q: int) -> dict[str, Tensor]:
    return {
        "max": dense.amax(1),
        "mean": dense.double().mean(1).float(),
        "top": dense.double().sort(1, descending=True).values[:, :q].mean(1).float(),
    }


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.25, 0.6, 1.0])
def test_pooled_activations_are_those_of_dense_ones(
    tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor], signed: bool, share: float
) -> None:
    dense = activations_of(7, 12, 9, signed=signed)
    dense[2] = 0  # nothing at all is active in an image
    dense[3, :, 0] = -dense[3, :, 0]  # negative on every token: the largest is negative
    dense[4, :10, 5] = -2.0  # negative on most tokens: the largest is 0
    dense[4, 10:, 5] = 0.0
    with SMatrixWriter(tmp_path / "s", source(top_share=share)) as writer:
        writer.add([0, 1, 2, 3], sparse_of(dense[:4].flatten(0, 1)))
        writer.add(6, sparse_of(dense[6]))
        writer.add([5, 4], sparse_of(dense[[5, 4]].flatten(0, 1)))
    s = SMatrix.open(tmp_path / "s")
    q = math.ceil(share * 12)
    for name, expected in brute_force(dense, q).items():
        np.testing.assert_allclose(s.of(name), expected.numpy(), rtol=1e-6, atol=1e-8)  # type: ignore[arg-type]
    np.testing.assert_array_equal(s.max, dense.amax(1).numpy())
    assert s.max[3, 0] < 0 and s.max[4, 5] == 0
    assert s.source.step == 8 and s.source.images[6] == "p6-0" and len(s) == 7 and s.size == 9


def test_a_batch_of_images_gives_the_same_bits_as_image_after_image(
    tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor]
) -> None:
    dense = activations_of(7, 12, 9)
    with SMatrixWriter(tmp_path / "one", source()) as writer:
        for image in range(7):
            writer.add(image, sparse_of(dense[image]))
    with SMatrixWriter(tmp_path / "all", source()) as writer:
        writer.add(range(7), sparse_of(dense.flatten(0, 1)))
    assert files(tmp_path / "one") == files(tmp_path / "all")


def test_half_precision_activations_are_taken_exactly(
    tmp_path: Path, activations_of: Callable[..., Tensor], sparse_of: Sparse
) -> None:
    dense = activations_of(7, 12, 9).bfloat16()
    with SMatrixWriter(tmp_path, source()) as writer:
        writer.add(range(7), sparse_of(dense.flatten(0, 1)))
    np.testing.assert_array_equal(SMatrix.open(tmp_path).max, dense.amax(1).float().numpy())


def test_tokens_that_were_left_out_do_not_count(tmp_path: Path, sparse_of: Sparse) -> None:
    # Two of the twelve tokens are missing: the mean is over ten, the largest quarter of them are three.
    dense = torch.zeros(10, 9)
    dense[:4, 2] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    with SMatrixWriter(tmp_path, source(images=1)) as writer:
        writer.add(0, sparse_of(dense))
    s = SMatrix.open(tmp_path)
    assert (s.max[0, 2], s.mean[0, 2], s.top[0, 2]) == (4.0, 1.0, 3.0)


def test_a_killed_writer_is_gone_on_with_and_gives_the_same_files(
    tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor]
) -> None:
    dense = activations_of(7, 12, 9)
    with SMatrixWriter(tmp_path / "whole", source()) as writer:
        writer.add(range(7), sparse_of(dense.flatten(0, 1)))
    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt), SMatrixWriter(folder, source()) as writer:
        writer.add([0, 3], sparse_of(dense[[0, 3]].flatten(0, 1)))
        raise KeyboardInterrupt
    with pytest.raises(UserError, match="not finished"):
        SMatrix.open(folder)
    with SMatrixWriter(folder, source()) as writer:
        assert writer.pending == [1, 2, 4, 5, 6]
        writer.add([3, 1], sparse_of(dense[[4, 1]].flatten(0, 1)))  # 3 is there already: not written again
        assert writer.pending == [2, 4, 5, 6]
        for image in writer.pending:
            writer.add(image, sparse_of(dense[image]))
    assert files(folder) == files(tmp_path / "whole")
    with SMatrixWriter(folder, source()) as writer:
        assert writer.pending == []
    assert files(folder) == files(tmp_path / "whole")


@pytest.mark.parametrize("changed", [{"key": "other"}, {"top_share": 0.5}, {"sae": "late"}, {"step": 9}])
def test_rows_of_another_source_are_not_gone_on_with(
    tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor], changed: dict[str, object]
) -> None:
    dense = activations_of(7, 12, 9)
    with pytest.raises(KeyboardInterrupt), SMatrixWriter(tmp_path, source()) as writer:
        writer.add([0, 3], sparse_of(dense[[0, 3]].flatten(0, 1)))
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), SMatrixWriter(tmp_path, source(**changed)) as writer:
        assert writer.pending == list(range(7))
        raise KeyboardInterrupt


def test_an_image_that_was_half_written_counts_as_missing(
    tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = activations_of(7, 12, 9)
    with pytest.raises(ZeroDivisionError), SMatrixWriter(tmp_path, source()) as writer:
        writer.add(0, sparse_of(dense[0]))
        written: list[int] = []

        def stop(file: int, content: bytes, offset: int) -> None:
            written.append(offset)
            if len(written) == 3:
                raise ZeroDivisionError
            write_at(file, content, offset)

        monkeypatch.setattr("steerwright.features.s_matrix.write_at", stop)
        writer.add(1, sparse_of(dense[1]))
    monkeypatch.undo()
    with SMatrixWriter(tmp_path, source()) as writer:
        assert writer.pending == [1, 2, 3, 4, 5, 6]
        writer.add(writer.pending, sparse_of(dense[1:].flatten(0, 1)))
    np.testing.assert_array_equal(SMatrix.open(tmp_path).max, dense.amax(1).numpy())


def test_missing_images_are_not_finished_in_silence(
    tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor]
) -> None:
    with pytest.raises(ValueError, match="6 of 7 images are missing"), SMatrixWriter(tmp_path, source()) as writer:
        writer.add(0, sparse_of(activations_of(1, 12, 9)[0]))
    with pytest.raises(UserError, match="not finished"):
        SMatrix.open(tmp_path)


def test_what_does_not_fit_is_refused(tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor]) -> None:
    with pytest.raises(KeyboardInterrupt), SMatrixWriter(tmp_path, source()) as writer:
        for images, dense in (
            ([0], activations_of(1, 13, 9)),
            ([0], activations_of(1, 12, 8)),
            ([0, 0], activations_of(2, 12, 9)),
            ([7], activations_of(1, 12, 9)),
        ):
            with pytest.raises(ValueError):
                writer.add(images, sparse_of(dense.flatten(0, 1)))
        broken = activations_of(1, 12, 9)
        broken[0, 3, 0] = torch.inf
        with pytest.raises(ValueError, match="1 latents are not finite"):
            writer.add(0, sparse_of(broken[0]))
        assert writer.pending == list(range(7))
        raise KeyboardInterrupt


def test_damaged_folders_and_other_files_are_refused(
    tmp_path: Path, sparse_of: Sparse, activations_of: Callable[..., Tensor]
) -> None:
    with pytest.raises(UserError, match=r"no steerwright\.s_matrix folder"):
        SMatrix.open(tmp_path)
    with SMatrixWriter(tmp_path, source()) as writer:
        writer.add(range(7), sparse_of(activations_of(7, 12, 9).flatten(0, 1)))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for changed, message in [
        ({"schema_version": 2}, "version 1"), ({"size": "many"}, "damaged at 'size'"), ({"size": 8}, r"max.npy"),
    ]:  # fmt: skip
        (tmp_path / "manifest.json").write_text(json.dumps(manifest | changed))
        with pytest.raises(UserError, match=message):
            SMatrix.open(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "top.npy").unlink()
    with pytest.raises(UserError, match="damaged"):
        SMatrix.open(tmp_path)


def test_a_share_of_tokens_is_rounded_up_as_a_decimal() -> None:
    assert [
        top_tokens(tokens, share) for tokens, share in [(30, 0.1), (256, 0.05), (16, 0.05), (5, 1.0), (1, 0.01)]
    ] == [3, 13, 1, 5, 1]
    with pytest.raises(ValueError):
        top_tokens(10, 0)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
