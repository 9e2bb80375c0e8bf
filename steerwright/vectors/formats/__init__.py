"""Files that steering vectors are read from and written to."""
