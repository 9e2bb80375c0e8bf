"""Sparse autoencoders of other libraries, each trained in its own process and environment by benchmarks.sae."""
