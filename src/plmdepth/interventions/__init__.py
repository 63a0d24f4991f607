"""Changes to one run, and the descent that runs many of them at once."""
