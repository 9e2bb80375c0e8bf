"""Architectures of autoencoders that can be trained, one file each, by the name that params.yaml gives.

A new one is a subclass of `Architecture` with its configuration, and a line in `ARCHITECTURES`.
"""

from typing import Any

from steerwright.sae.architectures.architecture import Architecture, SaeConfig
from steerwright.sae.architectures.batchtopk import BatchTopK
from steerwright.sae.architectures.jumprelu import JumpReluThresholds
from steerwright.sae.architectures.matryoshka import Matryoshka
from steerwright.sae.architectures.relu import ReluL1
from steerwright.sae.architectures.topk import TopKRows

ARCHITECTURES: dict[str, Architecture[Any]] = {
    made.name: made for made in (ReluL1(), TopKRows(), BatchTopK(), JumpReluThresholds(), Matryoshka())
}

__all__ = ["ARCHITECTURES", "Architecture", "SaeConfig"]
