"""Labelled proteins for probes: one file a source layout, each a pure function of paths."""
