"""Measurements. ``python -m bench`` prints every figure beside its bound; each module yields its own ``figures``."""
