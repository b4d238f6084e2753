"""The one error that a user can mend."""

__all__ = ["InputError", "require_above"]


class InputError(ValueError):
    """Bad input: one line that names the file, the value and the fix. The command line prints it and exits with 2."""


def require_above(bound: float, section: str, settings: object, *names: str) -> None:
    """Refuse a setting that is not greater than ``bound``; ``section`` is what the user writes before its name."""
    for name in names:
        value = getattr(settings, name)
        if not value > bound:
            raise InputError(f"{section}{name}={value} must be greater than {bound:g}")
