"""Reads of Prefect's client that go on where the server's page ends (after 200 rows, or fewer as it is set)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def every(read: Callable[..., list[Any]], **filters: Any) -> Iterator[Any]:
    """All rows that `read` of a Prefect client gives for `filters`, in as many requests as there are pages and one.

    No `limit` is asked for: a server refuses one that is larger than its own. The server's order is by id, so that rows
    which come meanwhile may show one twice, but hide none.
    """
    found = 0
    while page := read(**filters, offset=found):
        yield from page
        found += len(page)
