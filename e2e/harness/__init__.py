"""What the demo, the scenarios, the soak and the bench of rivals share: a cluster, what is done on it, and a client."""
