"""Estimators of steering vectors, one file each."""
