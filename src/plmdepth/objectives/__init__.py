"""What a model was trained to do: what is hidden, and which logit row predicts which residue."""
