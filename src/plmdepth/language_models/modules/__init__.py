"""Modules of our own, for models that transformers has none of."""
