"""The report of sparse autoencoders: what they learnt, which latents carry a concept, and what erasing them does."""
