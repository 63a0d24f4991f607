"""Reading weights from files: Hugging Face's layout, and others that a family knows how to convert."""
