"""The indefinite article of a noun."""


def with_article(noun: str) -> str:
    """`a boat`, `an umbrella`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
