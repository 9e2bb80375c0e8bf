"""Edits of activations while a model runs: where x when x what x how far."""
