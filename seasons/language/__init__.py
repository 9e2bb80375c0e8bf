"""The language of the seasons world: a grammar of texts that show a value, and topics that they are about."""
