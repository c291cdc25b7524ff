"""A scored video on one page for the owner of its camera: what was unusual, when, where; no labels."""
