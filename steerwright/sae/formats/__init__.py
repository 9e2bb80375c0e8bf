"""Autoencoders of other libraries: one module per format, that reads and writes it. docs/formats.md lists them."""
