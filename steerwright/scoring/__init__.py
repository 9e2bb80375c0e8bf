"""How well steering worked: CLIP, labels, perceptual distance, and intervals that respect prompts."""
