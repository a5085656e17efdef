"""Haldane ships ONNX models to Kubernetes behind a canary, and takes them back when they misbehave."""
