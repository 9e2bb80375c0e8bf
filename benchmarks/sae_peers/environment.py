"""An environment of its own for each peer, made with pip when it is not there yet.

Their dependencies cannot live beside ours (dictionary-learning wants nnsight 0.3). Torch they share: each environment
sees, after its own packages, those of the environment that runs the benchmark, so that all multiply with the same code.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".benchmarks" / "sae"

PACKAGES = {
    "sae-lens": "sae-lens==6.54.12",
    "eai-sparsify": "eai-sparsify==1.3.3",
    "dictionary-learning": "dictionary-learning==0.1.0",
}


def python_of(peer: str) -> Path:
    """The interpreter of `peer`'s environment, installed first if need be. Raises RuntimeError if pip could not."""
    folder = FOLDER / peer
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    venv.create(folder, clear=True, symlinks=True, with_pip=True)
    own = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    # Read after everything else in the folder, and appended to the path: the peer's own packages win.
    (own / "zz_shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGES[peer]],
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"pip could not install {PACKAGES[peer]} (exit code {done.returncode})")
    (folder / "ready").touch()
    return python
