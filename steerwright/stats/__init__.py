"""Statistics: bootstrap, ranks, significance, moments."""
