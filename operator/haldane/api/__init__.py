"""The `haldane.dev` API: what a user writes, what the operator answers, and the CRD made from both."""
