"""What can go wrong in a way that a person can act on."""


class HarnessError(Exception):
    """A failure whose message is a sentence for the person at the terminal; the demo ends with status 1."""
