"""The options of one command as it was called: what every command takes and hands on."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import yaml

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
from ramvid_vad.options.sampling import DemoOptions, SampleOptions
from ramvid_vad.options.space import SpaceOptions
from ramvid_vad.options.training import TrainOptions
from ramvid_vad.options.video import CacheOptions, PrepareOptions, VideoOptions


@dataclass(frozen=True)
class RunOptions:
    """One object per group of options; groups that the command does not have stand at their defaults.

    sections: the names of its groups.  given: names of the options set by flag or file.  typed: those set by flag.
    config: the file, "" for none.  dry_run: print the resolved options and end.
    """

    sections: tuple[str, ...]
    given: frozenset[str] = frozenset()
    typed: frozenset[str] = frozenset()
    config: str = ""
    dry_run: bool = False
    model: ModelOptions = field(default_factory=ModelOptions)
    diffusion: DiffusionOptions = field(default_factory=DiffusionOptions)
    video: VideoOptions = field(default_factory=VideoOptions)
    anchors: AnchorOptions = field(default_factory=AnchorOptions)
    space: SpaceOptions = field(default_factory=SpaceOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    sample: SampleOptions = field(default_factory=SampleOptions)
    eval: EvalOptions = field(default_factory=EvalOptions)
    demo: DemoOptions = field(default_factory=DemoOptions)
    prepare: PrepareOptions = field(default_factory=PrepareOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    score: ScoreOptions = field(default_factory=ScoreOptions)
    select: SelectOptions = field(default_factory=SelectOptions)
    compare: CompareOptions = field(default_factory=CompareOptions)
    feature_study: FeatureStudyOptions = field(default_factory=FeatureStudyOptions)
    export: ExportOptions = field(default_factory=ExportOptions)
    watch: WatchOptions = field(default_factory=WatchOptions)

    def but(self, section: str, **values: Any) -> "RunOptions":
        """The same with other values in one group."""
        return replace(self, **{section: replace(getattr(self, section), **values)})

    def as_sections(self) -> dict[str, dict[str, Any]]:
        """Plain sections of all options, fit for YAML, JSON and ``--config``."""
        return {name: asdict(getattr(self, name)) for name in GROUPS if name in self.sections}

    def as_yaml(self) -> str:
        """What ``--dry_run`` prints and ``--config`` reads."""
        return yaml.safe_dump(self.as_sections(), sort_keys=False).rstrip()


GROUPS = {each.name: each.default_factory for each in fields(RunOptions) if isinstance(each.default_factory, type)}
"""Name of each group of options -> its class."""
