"""The attention pipeline, one file per stage."""
