"""How strongly to steer: a dose for each prompt, and the search for the configuration that doses multiply."""
