"""ONNX Runtime behind an interface, and what is found out about a model before it serves."""

import os

# Since 1.29 the published wheels report sessions to their maker over the network unless this is set before the first
# import. A model server must not talk to third parties about its models.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
