"""A checkpoint becomes a stack: embed, layers, norm, head."""
