"""Why an autoencoder cannot be written in a format."""


class Unfit(Exception):
    """What the autoencoder has that the format does not; a part of a sentence: "it has a skip connection, ..."."""
