"""From a residual to a frame score, and from frame scores to a curve."""

from ramvid_vad.scoring.blobs import wmse
