"""Carries the decisions out: one pass a key at a time, level-triggered, on ports and not on clients."""
