"""A grammar of protein-like sequences whose labels are known because they follow from how a sequence was written.

`families` draws the templates, `sampling` writes proteins from them, `oracle` knows the exact probability of every
residue, so a trained model's loss can be compared with the best that is possible.
"""
