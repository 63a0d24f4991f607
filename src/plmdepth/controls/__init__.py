"""Controls: the same measurement where the answer is known beforehand."""
