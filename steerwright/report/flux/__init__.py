"""The report of the FLUX pipeline: overlays, contact sheets and a gallery of the features of its autoencoders."""
