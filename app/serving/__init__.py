"""Exports behind HTTP and gRPC. Reads exports only, and imports nothing of training."""
