"""The latents pipeline, one file per stage."""
