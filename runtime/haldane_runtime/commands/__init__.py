"""What `haldane-runtime` does beside serving: tell what a model is, and measure it."""
