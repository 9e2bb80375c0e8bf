"""The winter pipeline, one file per stage."""
