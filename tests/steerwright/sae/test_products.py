"""Products over bags against their definition; the Triton kernels against the plain ones."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from steerwright.sae import products as sparse_product
from steerwright.sae import triton_product
from steerwright.sae.training.gradients import segment_sums


def entries(bags: int, size: int, width: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Members, weights, bag and ends of random bags (the first is empty), a table [size, width], gradients of bags."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 23, (bags,), generator=generator)
    counts[0] = 0
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    members = torch.randint(0, size, (int(ends[-1]),), generator=generator)
    bag = torch.arange(bags).repeat_interleave(counts)
    weights, table, gradients = (
        torch.randn(shape, generator=generator) for shape in ((len(members),), (size, width), (bags, width))
    )
    return members, weights, bag, ends, table, gradients


@pytest.mark.parametrize("width", [1, 40, 300])
def test_bag_sums_and_entry_products_are_their_definitions(width: int) -> None:
    members, weights, bag, ends, table, gradients = entries(17, 50, width, seed=width)
    sums = torch.zeros(17, width).index_add(0, bag, weights.unsqueeze(1) * table[members])
    torch.testing.assert_close(sparse_product.bag_sums(table, members, weights, ends), sums)
    products = (gradients[bag] * table[members]).sum(1)
    found = sparse_product.entry_products(gradients, table, bag, members, ends)
    torch.testing.assert_close(found, products, rtol=1e-4, atol=1e-5)


def test_unused_places_add_nothing() -> None:
    table = torch.tensor([[90.0, 90], [1, 2], [3, 4]])
    indices = torch.tensor([[1, 2], [2, -1], [-1, -1]])
    found = sparse_product.weighted_rows(indices, torch.tensor([[2.0, 1], [1, 5], [7, 7]]), table)
    assert found.tolist() == [[5, 8], [3, 4], [0, 0]]


def test_segment_sums_are_sums_of_segments() -> None:
    values = torch.tensor([1.0, 2, 4, 8, 16])
    assert segment_sums(values, torch.tensor([0, 0, 2, 5, 5])).tolist() == [0, 3, 28, 0]


def compare_triton(device: str) -> None:
    """The kernels against the plain products on the CPU; run by the tests below where they can run."""
    for bags, size, width in ((4, 50, 40), (3, 30, 300)):
        members, weights, bag, ends, table, gradients = entries(bags, size, width, seed=bags)
        plain = sparse_product.bag_sums(table, members, weights, ends)
        plain_products = (gradients[bag] * table[members]).sum(1)
        members, weights, bag, ends, table, gradients = (
            x.to(device) for x in (members, weights, bag, ends, table, gradients)
        )
        torch.testing.assert_close(triton_product.bag_sums(table, members, weights, ends).cpu(), plain)
        found = triton_product.entry_products(gradients, table, bag, members).cpu()
        torch.testing.assert_close(found, plain_products, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_triton_kernels_give_the_plain_products_in_tritons_interpreter() -> None:
    """The interpreter runs kernels on a CPU; it is chosen before they are made, hence a process of its own."""
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('its_tests', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "module.compare_triton('cpu')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"TRITON_INTERPRET": "1"}, timeout=120)


@pytest.mark.skipif(not (torch.cuda.is_available() and triton_product.AVAILABLE), reason="needs CUDA and Triton")
def test_triton_kernels_give_the_plain_products_on_cuda() -> None:
    compare_triton("cuda")
