"""Transports of the data plane: bytes in, bytes out."""
