"""Every option of every command, once: name, default, range, unit and one line of help.

A field's name is its flag (``--name``) and its YAML key; ``cli`` makes the parsers from these classes. Names that
RaMViD or improved-diffusion have keep their meaning.
"""

from ramvid_vad.options.detection import (
    ExportOptions,
    FeatureStudyOptions,
    FitOptions,
    ScoreOptions,
    SelectOptions,
    WatchOptions,
)
from ramvid_vad.options.evaluation import CompareOptions, EvalOptions
from ramvid_vad.options.network import AnchorOptions, DiffusionOptions, ModelOptions
from ramvid_vad.options.option import describe, int_list, option, parse_image_size, str2bool
from ramvid_vad.options.run import GROUPS, RunOptions
from ramvid_vad.options.sampling import DemoOptions, SampleOptions
from ramvid_vad.options.space import SpaceOptions
from ramvid_vad.options.training import TrainOptions
from ramvid_vad.options.video import CacheOptions, PrepareOptions, VideoOptions
