"""Errors with a message for the user: one line that names the file or flag, the value and the remedy."""

from ramvid_vad.runtime.text import one_line


class InputError(ValueError):
    """Bad input (a file, a flag, a data set). The commands print its message as one line and exit with code 2."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class RunError(RuntimeError):
    """A run that cannot go on, e.g. numbers that stay infinite. The commands print one line and exit with code 1."""
