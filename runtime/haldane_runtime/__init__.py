"""Haldane's runtime: serves one ONNX model over the Open Inference Protocol and a plain JSON route."""
