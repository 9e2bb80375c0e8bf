"""How the stages are wired."""
