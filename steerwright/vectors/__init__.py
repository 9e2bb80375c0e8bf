"""Steering vectors: directions in a model's activations, how they are estimated, and how they are kept on disk."""
