"""What the model sees: the frames themselves, or frozen features and motion."""

from dataclasses import dataclass

from ramvid_vad.options.option import option


@dataclass
class SpaceOptions:
    """What frames become before the model sees them."""

    space: str = option(
        "pixels",
        "pixels: the frames; features: a frozen network's maps and optical flow per cell of 8 x 8 pixels",
        choices=("pixels", "features"),
    )
    backbone: str = option("efficientnet_lite0", "features: the frozen network; another name is one of timm's")
    backbone_weights: str = option("", "features: local file of weights for a network of timm's; empty: timm's own")
    space_channels: int = option(24, "features: principal axes of the network's channels", at_least=1, at_most=4096)
    space_centre: str = option(
        "all",
        "features: the mean of normal video that is subtracted, one of all places, of each place, or for appearance "
        "of each place and for motion one (docs/study.md)",
        choices=("all", "place", "appearance"),
    )
    lines: int = option(
        240,
        "features: larger frames are reduced to this shorter side; 0: native size",
        unit="pixels",
        at_least=16,
        at_most=8192,
        also=(0,),
    )
    tube_cells: str = option("5,10", "anchors tube: LEAST,MOST side of the hidden box", unit="cells")
