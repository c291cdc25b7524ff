"""The two sequence operations of a Mamba block and group norm, each with interchangeable backends.

`selective_scan.py` and `group_norm.py` hold the public functions, `backends.py` the choice; `reference.py`, `cpu.py`,
`cuda.py` and `triton.py` implement them.
"""

from ramvid_vad.ops.backends import available_backends
from ramvid_vad.ops.group_norm import group_norm
from ramvid_vad.ops.selective_scan import causal_conv1d, selective_scan
