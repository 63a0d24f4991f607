"""Early exit: a protein leaves the model at the first layer whose head is sure enough."""
