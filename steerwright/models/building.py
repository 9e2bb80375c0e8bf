"""One network is built at a time in a process, because libraries change torch for every thread while they build one.

Stages run as threads. While diffusers or transformers load a model, they put functions of their own in place of
`torch.nn.Module.register_parameter` (accelerate's `init_empty_weights`: parameters without values, on the meta device)
and of those in `torch.nn.init`, and set torch's default dtype. `torch.device("meta")` holds for one thread, these for
all: a network that another thread builds meanwhile has parameters without values, into which `load_state_dict` copies
nothing. And where two loads begin and end crosswise, the second puts back what the first had put there, for good.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()


@contextmanager
def building() -> Iterator[None]:
    """Hold this, as `with` or as a decorator, around whatever makes a `torch.nn.Module` with parameters.

    That is every `from_pretrained` and `from_config`, and a class of our own with the weights that it is given. Waits
    while another thread holds it; a thread that has it may take it again.
    """
    with _lock:
        yield
