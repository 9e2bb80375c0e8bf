"""The steering lab: a page on this machine where every method can be tried, and what it calls as plain functions."""
