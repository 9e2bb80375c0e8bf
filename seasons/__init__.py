"""The seasons world: rendered 64x64 scenes with known labels, their captions, and the recipe of the embedded models."""
