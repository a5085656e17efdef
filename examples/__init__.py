"""Models, manifests and data to try Haldane with."""
