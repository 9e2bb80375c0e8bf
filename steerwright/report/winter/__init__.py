"""The winter pipeline's report."""
