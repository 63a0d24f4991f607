"""Sequences: reading, checking, ordering, batching."""
