"""Scores of generated texts: whether they show a concept, and what steering cost them."""
