"""What can go wrong in a way that a person can act on."""


class ClusterError(Exception):
    """A failure whose message is a sentence for the person at the terminal; it ends the command with status 1."""
