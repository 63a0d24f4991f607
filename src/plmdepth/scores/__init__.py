"""Scores of probe heads, those of all layers at once: how good, how sure, how honest about it.

Every tensor of predictions leads with the layer: probabilities are ``[layer, protein, class]`` or, for residues,
``[layer, residue, class]``. Probabilities go in, never logits (`temperature` alone takes logits and says so); they are
compared in single precision and summed in double precision. A score without anything to score is NaN, never 0.

Scores that depend on sums over proteins (`f1_max`, `class_scores`, `calibration`) are accumulated in constant memory;
those that depend on an order of the predictions (`average_precision`, `selective`) keep what they order. With bootstrap
weights, each also returns its replicates, and `bootstrap.difference` compares two layers on the same replicates.
"""
