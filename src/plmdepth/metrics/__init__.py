"""One file a measurement, and what they share."""
