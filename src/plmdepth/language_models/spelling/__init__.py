"""How models spell a protein: residues become token ids, and token ids tell where residues are."""
