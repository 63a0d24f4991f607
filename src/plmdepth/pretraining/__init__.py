"""Training the bundled language models on the grammar, and scoring them against what is possible."""
