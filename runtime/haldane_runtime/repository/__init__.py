"""Several models in one process: what may be served, and loading and unloading it while others serve."""
