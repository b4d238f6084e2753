"""The one error that a user can mend."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input: one line that names the file, the value and the fix. The command line prints it and exits with 2."""
