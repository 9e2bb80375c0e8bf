"""The recipe of the embedded models, one file per stage."""
