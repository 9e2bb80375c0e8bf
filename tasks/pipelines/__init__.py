"""How stages are wired, one file per pipeline. The registry imports every module here."""
