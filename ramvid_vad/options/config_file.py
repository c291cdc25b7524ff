"""YAML files of options, the recipes of the package among them."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import yaml

from ramvid_vad.errors import InputError
from ramvid_vad.options.aliases import spelled_out
from ramvid_vad.options.option import convert, nearest
from ramvid_vad.options.run import GROUPS, RunOptions
from ramvid_vad.recipes import find_recipe, recipe_names

MOST_YAML = 1_000_000


class _Plain(yaml.BaseLoader):
    """YAML whose values are texts, as on a command line: ``convert`` alone decides what is a number or a date. And
    without aliases, of which a few lines can stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias, write it out", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)


def read_config(path: str) -> dict[str, dict[str, Any]]:
    """A YAML file of sections (model, diffusion, video, anchors, space, train, sample, eval); every key is checked."""
    try:
        with open(find_recipe(path), encoding="utf-8") as file:
            text = file.read(MOST_YAML + 1)
        if len(text) > MOST_YAML:
            raise InputError(f"--config {path}: more than {MOST_YAML} characters: give a YAML file of options")
        content = _Plain(text).get_single_data() or {}
    except OSError as error:
        remedy = f"give a YAML file, or a recipe of the package: {', '.join(recipe_names())}"
        raise InputError(f"--config {path}: cannot be read ({error.strerror}): {remedy}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"--config {path}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(content, dict) or not all(isinstance(part or {}, dict) for part in content.values()):
        raise InputError(f"--config {path}: expected sections ({', '.join(GROUPS)}) of 'option: value' lines")
    for section, part in content.items():
        if section not in GROUPS:
            word = str(section)[:80]
            raise InputError(f"--config {path}: unknown section {word!r}: did you mean {nearest(word, [*GROUPS])!r}?")
        specs = {spec.name: spec for spec in fields(GROUPS[section])}
        for key, value in (part or {}).items():
            if key not in specs:
                word = str(key)[:80]
                near = f"did you mean {nearest(word, [*specs])!r}?"
                raise InputError(f"--config {path}: unknown key {word!r} in section {section!r}: {near}")
            part[key] = convert(specs[key], "" if value in ("~", "null") else value, f"--config {path}: {key}")
    return {section: part or {} for section, part in content.items()}


def run_of_recipe(name: str, sections: Sequence[str]) -> RunOptions:
    """The options of a recipe's sections; those that it leaves open stand at their defaults."""
    parts = {section: spelled_out(part) for section, part in read_config(name).items() if section in sections}
    given = frozenset(key for part in parts.values() for key in part)
    return RunOptions(
        tuple(sections), given, config=name, **{section: GROUPS[section](**part) for section, part in parts.items()}
    )
