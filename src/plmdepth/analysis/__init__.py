"""The runner of one analysis cell: batches through a stack, values into a record."""
