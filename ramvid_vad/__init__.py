"""Video anomaly detection by infilling: a RaMViD diffusion model with bidirectional Mamba blocks."""

__version__ = "0.1.0"
