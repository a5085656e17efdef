"""What the demo and the scenarios share: the cluster's addresses, kubectl and helm, the models and a client that counts."""
