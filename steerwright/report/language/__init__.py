"""The report of language models: how often steering brings a concept, what it costs, and the texts themselves."""
