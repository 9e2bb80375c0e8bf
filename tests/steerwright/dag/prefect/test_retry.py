"""Which failures are tried again."""

from __future__ import annotations

import errno

import pytest

from steerwright.dag.prefect.retry import worth_retrying
from steerwright.errors import UserError


class _Reply:
    def __init__(self, status_code):
        self.status_code = status_code


def _http_error(status_code):
    kind = type("HTTPError", (OSError,), {"__module__": "requests.exceptions"})
    error = kind("refused")
    error.response = _Reply(status_code)
    return error


def _raised(inner, outer):
    """`outer` as it looks after `raise outer from inner`."""
    outer.__cause__ = inner
    return outer


OUT_OF_MEMORY = type("OutOfMemoryError", (RuntimeError,), {})


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("peer"),
        TimeoutError("slow"),
        MemoryError(),
        OUT_OF_MEMORY("CUDA out of memory"),
        OSError(errno.EBUSY, "busy"),
        OSError(errno.EIO, "network file system"),
        _http_error(503),
        _http_error(429),
        _raised(ConnectionResetError("peer"), RuntimeError("could not load the model")),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again(error):
    assert worth_retrying(error)


@pytest.mark.parametrize(
    "error",
    [
        UserError("params.yaml: no such key"),
        ValueError("shape"),
        KeyError("x"),
        FileNotFoundError(errno.ENOENT, "gone"),
        PermissionError(errno.EACCES, "no"),
        OSError(errno.ENOSPC, "disk full"),
        _http_error(404),
        _http_error(401),
        AssertionError(),
    ],
    ids=repr,
)
def test_what_fails_again_in_the_same_way_is_not(error):
    assert not worth_retrying(error)


def test_a_users_mistake_is_final_also_when_a_lost_connection_showed_it():
    assert not worth_retrying(_raised(ConnectionResetError("peer"), UserError("no network: use seasons-sd")))


def test_a_chain_of_causes_that_bites_its_own_tail_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first

    assert not worth_retrying(first)
