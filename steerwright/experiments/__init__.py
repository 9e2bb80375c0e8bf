"""Experiments: conditions and samples, drawing them, and the search for what to draw."""
