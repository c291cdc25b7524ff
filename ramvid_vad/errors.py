"""Errors with a message for the user: one line that names the file or flag, the value and the remedy."""


class InputError(ValueError):
    """Bad input (a file, a flag, a data set). The commands print its message as one line and exit with code 2."""


class RunError(RuntimeError):
    """A run that cannot go on, e.g. numbers that stay infinite. The commands print one line and exit with code 1."""
