"""Edits of language models while they read and write."""
