"""A head on every layer of a frozen model, all trained in one run on features that are computed once."""
