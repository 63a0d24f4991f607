"""plmdepth: what each layer of a protein language model does, and how many layers a task needs."""

__version__ = "0.1.0"
