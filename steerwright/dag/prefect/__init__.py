"""Prefect: flows, progress, artifacts, retries and crashed runs."""
