"""The one error that a user can mend."""

__all__ = ["InputError", "require_above", "require_share"]


class InputError(ValueError):
    """Bad input: one line that names the file, the value and the fix. The command line prints it and exits with 2."""


def require_above(bound: float, section: str, settings: object, *names: str) -> None:
    """Refuse a setting that is not greater than ``bound``; ``section`` is what the user writes before its name."""
    for name in names:
        value = getattr(settings, name)
        if not value > bound:
            raise InputError(f"{section}{name}={value} must be greater than {bound:g}")


def require_share(section: str, settings: object, **most: float) -> None:
    """Refuse settings that are not above 0 and at most ``most``, each by its name; ``section`` is their prefix."""
    require_above(0, section, settings, *most)
    for name, bound in most.items():
        if getattr(settings, name) > bound:
            raise InputError(f"{section}{name}={getattr(settings, name)} must be at most {bound:g}")
