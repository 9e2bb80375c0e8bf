"""The FLUX pipeline, one file per stage."""
