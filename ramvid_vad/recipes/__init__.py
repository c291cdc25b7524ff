"""The recipes that come with the package: YAML files of options for ``--config``, one per data set or purpose."""

from pathlib import Path

FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """Of all recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_recipe(config: str) -> str:
    """The path that ``--config`` means: the recipe of that name, else ``config`` as it is.

    A file of the user's is told from a recipe by its ending or a folder: ``./demo`` or ``demo.yaml`` is a path.
    """
    return str(FOLDER / f"{config}.yaml") if config in recipe_names() else config
