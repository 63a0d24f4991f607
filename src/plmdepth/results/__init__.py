"""The record of a cell: one writer, one reader, and the sinks that are fed from it."""
