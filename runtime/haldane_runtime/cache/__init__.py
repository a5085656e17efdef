"""Answers of deterministic models kept in Redis, which may be absent, slow or wrong without a client noticing."""
