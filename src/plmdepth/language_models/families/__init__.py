"""One file a family: where its parts are and how it spells a protein."""
