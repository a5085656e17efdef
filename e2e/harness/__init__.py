"""What the demo, the scenarios, the soak and the bench of rivals share: the cluster and what is done on it, the models and a client that counts."""
