"""Autoencoders made, saved and used by dictionary_learning 0.1.0; see sample.run for the arguments.

With --golden, ROWS tests/data/sae/rows.npy and MADE tests/data/sae/dictionary_learning: the files that are there.
"""

import json
from pathlib import Path

import torch
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from dictionary_learning.utils import load_dictionary
from sample import D, K, N, Weights, filled, run
from torch import Tensor


def use(folder: Path, rows: Tensor) -> tuple[Tensor, Tensor]:
    return both(load_dictionary(str(folder), "cpu")[0], rows)


def both(dictionary, rows: Tensor) -> tuple[Tensor, Tensor]:
    latents = dictionary.encode(rows)
    return latents, dictionary.decode(latents)


def case(dictionary, weights: Weights, names: dict[str, str], threshold: float | None = None, **how):
    """`names`: attribute of the weights by parameter name; a trailing T transposes."""

    def make(folder: Path, rows: Tensor) -> tuple[Tensor, Tensor]:
        found = {}
        for name, attribute in names.items():
            tensor = getattr(weights, attribute.removesuffix(".T"))
            found[name.replace(".", "__")] = tensor.T if attribute.endswith(".T") else tensor
        filled(dictionary, **found)
        if threshold is not None:
            dictionary.threshold.fill_(threshold)
        reference = None if how.get("bf16") else both(dictionary, rows)
        state = {how.get("prefix", "") + name: tensor for name, tensor in dictionary.state_dict().items()}
        trainer = {"dict_class": type(dictionary).__name__, "activation_dim": D, "dict_size": N, "lm_name": "toy"}
        if "k" in dictionary.state_dict():
            trainer["k"] = K
        if factor := how.get("norm_factor"):
            # A backup in the middle of training on rows over `factor`; what training saves in the end is the reference.
            torch.save({"step": 7, "ae": state, "config": trainer, "norm_factor": factor}, folder / "ae.pt")
            dictionary.scale_biases(factor)
            return both(dictionary, rows)
        weights_folder = folder / "checkpoints" if how.get("step") else folder
        weights_folder.mkdir(exist_ok=True)
        torch.save(state, weights_folder / ("ae_500.pt" if how.get("step") else "ae.pt"))
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"d_submodule": D}}))
        # It loads any checkpoint into float32.
        return reference or use(folder, rows)

    return make


LINEAR = {"encoder.weight": "encoder", "encoder.bias": "encoder_bias", "decoder.weight": "decoder.T"}
CHOSEN = LINEAR | {"b_dec": "decoder_bias"}
MATRICES = {"W_enc": "encoder.T", "b_enc": "encoder_bias", "W_dec": "decoder", "b_dec": "decoder_bias"}
GATED = {"encoder.weight": "encoder", "decoder.weight": "decoder.T", "decoder_bias": "decoder_bias"} | {
    name: name for name in ("r_mag", "gate_bias", "mag_bias")
}


def topk():
    return AutoEncoderTopK(D, N, K)


def batchtopk():
    return BatchTopKSAE(D, N, K)


def matryoshka():
    return MatryoshkaBatchTopKSAE(D, N, K, [16, N - 16])


CASES = {
    "standard": case(AutoEncoder(D, N), Weights(1), LINEAR | {"bias": "decoder_bias"}),
    "standard-norms": case(AutoEncoder(D, N), Weights(2, norms=True), LINEAR | {"bias": "decoder_bias"}),
    "new": case(AutoEncoderNew(D, N), Weights(3, norms=True), LINEAR | {"decoder.bias": "decoder_bias"}),
    "gated": case(GatedAutoEncoder(D, N), Weights(4), GATED),
    "jumprelu": case(JumpReluAutoEncoder(D, N), Weights(5), MATRICES | {"threshold": "threshold"}),
    "topk": case(topk(), Weights(6), CHOSEN),
    "topk-threshold": case(topk(), Weights(7), CHOSEN, threshold=0.4),
    "topk-few": case(topk(), Weights(8, bias=-0.75), CHOSEN),
    "topk-none": case(topk(), Weights(9, bias=-200), CHOSEN),
    "topk-compiled": case(topk(), Weights(10), CHOSEN, prefix="_orig_mod."),
    "topk-bf16": case(topk().bfloat16(), Weights(11), CHOSEN, bf16=True),
    "batchtopk": case(batchtopk(), Weights(12), CHOSEN, threshold=0.4),
    "batchtopk-unset": case(batchtopk(), Weights(13), CHOSEN),
    "batchtopk-step": case(batchtopk(), Weights(14), CHOSEN, threshold=0.4, step=True),
    "batchtopk-backup": case(batchtopk(), Weights(15), CHOSEN, threshold=0.4, norm_factor=2.5),
    "gated-backup": case(GatedAutoEncoder(D, N), Weights(16), GATED, norm_factor=0.3),
    "matryoshka": case(matryoshka(), Weights(17), MATRICES, threshold=0.6),
}

GOLDEN = {
    "standard",
    "new",
    "gated",
    "jumprelu",
    "topk-threshold",
    "topk-compiled",
    "topk-bf16",
    "batchtopk",
    "batchtopk-backup",
    "matryoshka",
}

if __name__ == "__main__":
    run(CASES, GOLDEN, use)
