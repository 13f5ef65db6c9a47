"""Numbers of things in words."""


def counted(number: int, thing: str) -> str:
    """Return "1 row" or "3 rows"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def agree(number: int, one: str, many: str) -> str:
    """Return the words that go with one thing, or with many."""
    return one if number == 1 else many
