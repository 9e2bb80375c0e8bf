"""Stages of the synthetic project."""
