"""Where models come from: fetched by scheme, verified by sha256, published atomically in a cache."""
