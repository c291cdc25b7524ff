"""Spaces: what frames become before the model sees them, and what its residual is measured in."""
