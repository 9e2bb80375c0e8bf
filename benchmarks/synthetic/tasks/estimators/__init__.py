"""One estimator per file."""
