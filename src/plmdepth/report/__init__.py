"""Figures and tables, drawn from records and never from live tensors."""
