"""Proteins: structures as frames and torsions, and what flows make of them."""
