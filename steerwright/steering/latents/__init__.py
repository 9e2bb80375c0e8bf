"""Edits of an autoencoder's latents."""
