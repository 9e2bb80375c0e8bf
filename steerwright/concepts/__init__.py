"""Which latents of a sparse autoencoder carry which concepts, and how sure that is."""
