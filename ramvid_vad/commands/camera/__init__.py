"""Commands of a camera: fit and score."""
