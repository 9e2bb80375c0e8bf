"""Compute with a given number of threads: another number rounds otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def same_threads(count: int) -> Iterator[None]:
    """Inside the block torch computes with `count` threads, those of the process that planned the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
