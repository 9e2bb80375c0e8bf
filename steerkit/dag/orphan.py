"""A stage that DVC started must not outlive it: its late outputs would replace those of the next run."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.5
# How far up to look: `dvc repro` runs a shell, and the shell runs us.
GENERATIONS = 2
PR_SET_PDEATHSIG = 1


class ParentWatch:
    """Knows who started this process, and ends the process when they are gone."""

    def __init__(self) -> None:
        self.ancestors = _ancestors()

    def start(self) -> None:
        """Ask the kernel to end this process with its parent, and look at the grandparent twice a second."""
        if sys.platform == "linux":
            import ctypes

            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        threading.Thread(target=self._watch, name="steerkit-parent-watch", daemon=True).start()
        self.check()

    def check(self) -> None:
        """End the process now if it has been orphaned; called before outputs are put in their places."""
        if _ancestors() != self.ancestors:
            os._exit(1)

    def _watch(self) -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self.check()


def _ancestors() -> list[int]:
    found = [os.getppid()]
    while len(found) < GENERATIONS and found[-1] > 1:
        parent = _parent_of(found[-1])
        if parent is None:
            break
        found.append(parent)
    return found


def _parent_of(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may itself hold spaces and parentheses.
    return int(text.rpartition(")")[2].split()[1])
