"""Language models: loading, encoding texts, generating, and what the model thinks of tokens."""
