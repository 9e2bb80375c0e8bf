"""The language pipeline, one file per stage."""
