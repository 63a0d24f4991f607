"""What published implementations gave, and the weights that they were given."""
