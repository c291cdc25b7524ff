"""The one exception for a user's mistake: one line that names the file or flag, the value and the remedy."""


class InputError(ValueError):
    """Bad input (a file, a flag, a data set). The commands print its message as one line and exit with code 2."""
