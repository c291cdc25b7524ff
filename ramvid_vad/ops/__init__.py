"""The two sequence operations of a Mamba block, each with interchangeable backends.

`selective_scan.py` holds the public functions and the choice of backend; `reference.py`, `cpu.py`, `cuda.py` and
`triton.py` implement them.
"""

from ramvid_vad.ops.selective_scan import available_backends, causal_conv1d, selective_scan

__all__ = ["available_backends", "causal_conv1d", "selective_scan"]
