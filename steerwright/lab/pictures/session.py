"""What all visitors of the Images tab share: what pictures are steered with, what judges them, and what was drawn."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from steerwright.errors import UserError
from steerwright.lab.pictures.catalogue import Judge, attention_choices, latent_choices, text_choices
from steerwright.lab.pictures.edits import METHODS, PictureEdit
from steerwright.lab.pictures.features import LAYERS, FluxLayer, flux_layer
from steerwright.lab.pictures.sources import attention_source, latents_source, text_source
from steerwright.models.identify import fingerprint
from steerwright.models.select import select_model

if TYPE_CHECKING:
    from steerwright.lab.pictures.drawing import Drawn
    from steerwright.lab.workbench import Workbench

SD, FLUX = "seasons-sd", "seasons-flux"
_KEPT = 64
T = TypeVar("T")
_sessions: WeakKeyDictionary[Workbench, PictureSession] = WeakKeyDictionary()
_guard = threading.Lock()


def picture_session(workbench: Workbench) -> PictureSession:
    """The session that belongs to `workbench`: always the same one."""
    with _guard:
        if workbench not in _sessions:
            _sessions[workbench] = PictureSession(workbench)
        return _sessions[workbench]


class PictureSession:
    """Everything is read when it is first asked for, and then kept; all of it may be used by several threads."""

    def __init__(self, workbench: Workbench) -> None:
        self._root, self._models = workbench.root, workbench.models
        self._guard = threading.RLock()
        self._known: dict[Hashable, Any] = {}
        self._drawn: OrderedDict[Hashable, Drawn] = OrderedDict()

    def choices(self, method: str) -> dict[str, PictureEdit]:
        """What `method` can do, by key; UserError for an unknown method, or when there is nothing to steer with."""
        if method not in METHODS:
            raise UserError(f"There is no method {str(method)[:40]!r}; choose one of {', '.join(METHODS)}.")
        return self._once(("choices", method), lambda: self._choices(method))

    def layer(self, name: str) -> FluxLayer:
        """A layer of FLUX with its features; UserError for an unknown one."""
        if name not in LAYERS:
            raise UserError(f"There is no layer {str(name)[:40]!r}; choose one of {', '.join(LAYERS)}.")
        return self._once(("layer", name), lambda: flux_layer(self._root, name, self.digest(FLUX)))

    def judge(self) -> Judge:
        """The label classifier and the perceptual distance."""
        return self._once("judge", lambda: Judge.load(self._root))

    def digest(self, name: str) -> str:
        """Digest of a picture model's weights, without loading it."""
        return self._once(("digest", name), lambda: self._digest(name))

    def drawn(self, key: Hashable, draw: Callable[[], Drawn]) -> Drawn:
        """What was drawn before under `key`, else what `draw` gives now; the latest ones are kept."""
        with self._guard:
            if key in self._drawn:
                self._drawn.move_to_end(key)
                return self._drawn[key]
        found = draw()
        with self._guard:
            self._drawn[key] = found
            while len(self._drawn) > _KEPT:
                self._drawn.popitem(last=False)
        return found

    def _choices(self, method: str) -> dict[str, PictureEdit]:
        digest = self.digest(SD)
        match method:
            case "text":
                found = text_choices(text_source(self._root, digest))
            case "attention":
                found = attention_choices(attention_source(self._root, digest))
            case _:
                found = latent_choices(latents_source(self._root, digest))
        return {one.choice.key: one for one in found}

    def _digest(self, name: str) -> str:
        return fingerprint(select_model(name, self._models)).digest

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._guard:
            if key not in self._known:
                self._known[key] = make()
            known: T = self._known[key]
            return known
