"""The peer libraries, wherever they are installed, and what it is to agree with them."""

import fcntl
import importlib.util
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from steerwright.sae.sae import Sae

PEERS = Path(__file__).parent / "peers"
GOLDEN = Path(__file__).parents[3] / "data" / "sae"
LIBRARIES = {"sae_lens": "sae-lens==6.54.12", "sparsify": "eai-sparsify==1.3.3", "dictionary_learning": None}
# It asks for a version of nnsight that nothing here can use, for parts that are not used here.
WITHOUT_THEIR_OWN = ["dictionary-learning==0.1.0"]
NEEDED_BY_THESE = ["zstandard", "einops"]


@pytest.fixture(scope="session")
def sample() -> ModuleType:
    """peers/sample.py, which the scripts of the peers share."""
    spec = importlib.util.spec_from_file_location("peers_sample", PEERS / "sample.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def peers_python(pytestconfig: pytest.Config) -> str:
    """A Python that has the three libraries: this one, that of STEERWRIGHT_PEERS, or one made for it and kept."""
    if chosen := os.environ.get("STEERWRIGHT_PEERS"):
        return chosen
    if all(importlib.util.find_spec(name) for name in LIBRARIES):
        return sys.executable
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("peers")
    python, done = folder / "bin" / "python", folder / "installed"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            venv.create(folder, with_pip=True)
            site = next((folder / "lib").glob("python*/site-packages"))
            # Torch and its like are taken from here.
            inherited = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
            (site / "inherited.pth").write_text("\n".join(inherited))
            wanted = [*filter(None, LIBRARIES.values()), *NEEDED_BY_THESE]
            for arguments in (wanted, ["--no-deps", *WITHOUT_THEIR_OWN]):
                pip = [python, "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20", *arguments]
                result = subprocess.run(pip, capture_output=True, text=True)
                if result.returncode:
                    reason = (result.stderr.strip().splitlines() or ["pip failed"])[-1]
                    pytest.skip(f"the peer libraries cannot be installed: {reason}")
            done.touch()
    return str(python)


Run = Callable[..., None]


@pytest.fixture(scope="session")
def run_peer(peers_python: str) -> Run:
    """run_peer(NAME, *arguments): peers/NAME_peer.py, where its library is."""

    def run(name: str, *arguments: object) -> None:
        command = [peers_python, PEERS / f"{name}_peer.py", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-3000:]

    return run


Agrees = Callable[[Sae, np.ndarray, Path], None]


@pytest.fixture(scope="session")
def agrees() -> Agrees:
    """agrees(sae, rows, reference.npz): the same latents are active, and values and reconstructions are the same."""

    def check(sae: Sae, rows: np.ndarray, reference: Path) -> None:
        with np.load(reference) as found:
            expected, reconstruction = found["latents"], found["reconstruction"]
        latents, decoded = sae.reconstruct(torch.from_numpy(rows))
        dense = latents.dense().numpy()
        assert np.array_equal(dense != 0, expected != 0)
        # A few units in the last place of float32: the libraries do not all multiply in the same order.
        largest = float(np.abs(expected).max())
        np.testing.assert_allclose(dense, expected, rtol=0, atol=1e-6 if largest < 4 else 2e-6)
        np.testing.assert_allclose(decoded.numpy(), reconstruction, rtol=1e-6, atol=3e-6)

    return check
