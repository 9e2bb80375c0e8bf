"""The process in which one library steers: run by benchmarks/language.py, also in environments without steerwright.

Arguments: the library, a folder with a model, and a JSON of {vector, layer, strength, ids, tokens, threads}. Each line
of standard input asks for one call, `plain` or `steered`, and is answered with a line of JSON: seconds on the wall and
of the processor, and the tokens that were written.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

ANSWER = "answer: "
"""How a line begins that is an answer; whatever else is on standard output a library printed."""


def main() -> None:
    library, folder, text = sys.argv[1:4]
    asked = json.loads(text)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(asked["threads"])
    calls = LIBRARIES[library](folder, asked)
    for line in sys.stdin:
        call = calls[line.strip()]
        wall, processor = time.perf_counter(), time.process_time()
        written = call()
        spent = time.perf_counter() - wall, time.process_time() - processor
        answers.write(ANSWER + json.dumps({"wall": spent[0], "processor": spent[1], "tokens": written}) + "\n")
        answers.flush()


def plain_model(folder: str) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)  # in the float32 that it was saved in
    return model.eval().requires_grad_(False)


def generating(model: Any, asked: dict[str, Any]) -> Callable[[], list[list[int]]]:
    """The call of transformers that every library steers."""
    ids = torch.tensor(asked["ids"])

    def call() -> list[list[int]]:
        with torch.inference_mode():
            found = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=asked["tokens"], do_sample=False,
                eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
        return [row[ids.shape[1] :].tolist() for row in found]

    return call


def repeng(folder: str, asked: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Its wrapper of a block stays in the model while it is steered, and is taken off for the plain call."""
    from repeng import ControlModel, ControlVector

    model = plain_model(folder)
    wrapped = ControlModel(model, [asked["layer"]])
    wrapper = model.model.layers[asked["layer"]]
    vector = ControlVector("phi3", {asked["layer"]: torch.tensor(asked["vector"]).numpy()})
    generate = generating(wrapped, asked)

    def steered() -> Any:
        wrapped.set_control(vector, asked["strength"])
        try:
            return generate()
        finally:
            wrapped.reset()

    def plain() -> Any:
        wrapped.unwrap()
        try:
            return generate()
        finally:
            model.model.layers[asked["layer"]] = wrapper

    return {"plain": plain, "steered": steered}


def steering_vectors(folder: str, asked: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    from steering_vectors import SteeringVector

    model = plain_model(folder)
    vector = SteeringVector({asked["layer"]: torch.tensor(asked["vector"])}, "decoder_block")
    generate = generating(model, asked)

    def steered() -> Any:
        with vector.apply(model, {"decoder_block": "model.layers.{num}"}, multiplier=asked["strength"]):
            return generate()

    return {"plain": generate, "steered": steered}


def steerwright(folder: str, asked: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """`steered` is generate of transformers inside `steer_text`; `last` the same on last tokens alone."""
    from steerwright.models.language.load import load_language_model
    from steerwright.models.language.spec import LanguageSpec
    from steerwright.steering.algebra import Edit
    from steerwright.steering.language.apply import steer_text
    from steerwright.steering.operators import Add
    from steerwright.vectors.direction import normalised

    model = load_language_model(LanguageSpec(name="phi-3 widths", source=folder), device=torch.device("cpu"))
    direction = normalised(torch.tensor(asked["vector"]))
    generate = generating(model.model, asked)

    def steering(**how: Any) -> Callable[[], Any]:
        edit = Edit(model.hookpoints[asked["layer"]], Add(direction, "raw"), asked["strength"], **how)

        def steered() -> Any:
            with steer_text(model, [edit]):
                return generate()

        return steered

    return {"plain": generate, "steered": steering(tokens="all"), "last": steering(tokens="last")}


LIBRARIES: dict[str, Callable[[str, dict[str, Any]], dict[str, Callable[[], Any]]]] = {
    "steerwright": steerwright,
    "repeng": repeng,
    "steering-vectors": steering_vectors,
}

if __name__ == "__main__":
    main()
