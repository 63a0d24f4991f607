"""ESM3 (Hayes et al. 2024): a masked model of sequence, structure and function in one pre-norm stack.

Parameters bear the names that they have in the published checkpoint.
"""
