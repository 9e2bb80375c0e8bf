"""A stage in many processes: shards, workers and clusters."""
