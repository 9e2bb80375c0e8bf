"""The scoreboard: the methods of the pipelines beside each other."""
