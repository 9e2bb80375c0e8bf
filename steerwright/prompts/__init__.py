"""Contrast pairs and prompt suites, read from CSV with every problem reported at once."""
