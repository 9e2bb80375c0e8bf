"""What the latents of a sparse autoencoder stand for, read off the images in which they are active."""
