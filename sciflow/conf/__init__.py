"""Hydra configs that ship with sciflow: ``study/NAME.yaml`` and ``model/NAME.yaml``."""
