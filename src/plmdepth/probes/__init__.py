"""What is fitted to a frozen model, all layers in one run."""
