"""Sparse autoencoders: architectures, training, metrics, and the formats of other libraries."""
