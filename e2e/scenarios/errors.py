"""How a scenario says what did not happen."""


class Unmet(AssertionError):
    """Something that had to be so was not, or not in time; the message is a sentence that says what was seen instead."""
