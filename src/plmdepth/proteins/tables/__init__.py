"""Tables of sequences with labels, as people have them: columns, labels, mutants and splits."""
