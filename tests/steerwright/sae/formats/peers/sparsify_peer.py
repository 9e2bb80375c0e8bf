"""Autoencoders made, saved and used by eai-sparsify 1.3.3; see sample.run for the arguments.

With --golden, ROWS tests/data/sae/rows.npy and MADE tests/data/sae/sparsify: the files that are there.
"""

import os
from pathlib import Path

# Its decoder of Triton's does not run on a CPU.
os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

import torch
from sample import D, K, N, Weights, filled, run
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor


def use(folder: Path, rows: Tensor) -> tuple[Tensor, Tensor]:
    coder = SparseCoder.load_from_disk(folder).float()
    acts, indices, _ = coder.encode(rows)
    latents = torch.zeros(len(rows), coder.num_latents).scatter_(1, indices, acts)
    # Not coder(rows).sae_out: with multi_topk that is the reconstruction from 4 k latents.
    reconstruction = coder.decode(acts, indices)
    return latents, reconstruction if coder.W_skip is None else reconstruction + rows @ coder.W_skip.mT


def case(weights: Weights, dtype: torch.dtype = torch.float32, **settings):
    def make(folder: Path, rows: Tensor) -> tuple[Tensor, Tensor]:
        config = SparseCoderConfig(**{"num_latents": N, "k": K, **settings})
        found = {
            "encoder__weight": weights.encoder,
            "encoder__bias": weights.encoder_bias,
            "W_dec": weights.decoder,
            "b_dec": weights.decoder_bias,
        }
        if config.skip_connection:
            found["W_skip"] = weights.skip
        filled(SparseCoder(D, config, dtype=dtype), **found).save_to_disk(folder)
        return use(folder, rows)

    return make


CASES = {
    "topk": case(Weights(1)),
    "topk-expansion": case(Weights(2), num_latents=0, expansion_factor=N // D),
    "topk-few": case(Weights(3, bias=-0.75)),
    "topk-none": case(Weights(4, bias=-200)),
    "topk-bf16": case(Weights(5), torch.bfloat16),
    "topk-norms": case(Weights(6, norms=True), normalize_decoder=False),
    "topk-multi": case(Weights(7), multi_topk=True),
    "topk-transcode": case(Weights(8), transcode=True),
    "topk-skip": case(Weights(9), skip_connection=True),
    "topk-transcode-skip": case(Weights(10), transcode=True, skip_connection=True),
    "groupmax": case(Weights(11), activation="groupmax"),
    "groupmax-few": case(Weights(12, bias=-0.75), activation="groupmax"),
}

GOLDEN = {
    "topk-expansion",
    "topk-few",
    "topk-bf16",
    "topk-transcode-skip",
    "groupmax",
}

if __name__ == "__main__":
    run(CASES, GOLDEN, use)
