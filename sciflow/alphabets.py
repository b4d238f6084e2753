"""Letters of DNA, RNA and proteins, in the order of their numbers."""

__all__ = ["AMINO_ACIDS", "DNA", "RNA"]

DNA = "ACGT"
RNA = "ACGU"
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
