"""What can go wrong in a way that a person can act on."""


class DemoError(Exception):
    """A failure whose message is a sentence for the person at the terminal; it ends the demo with status 1."""
