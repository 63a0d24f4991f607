"""The best possible loss on the grammar, from the probabilities with which it was written."""

import numpy as np

from plmdepth.proteins.grammar.alphabet import INDEX, N_LETTERS, PARTNERS
from plmdepth.proteins.grammar.sampling import COUPLING_FIDELITY, AnnotatedProtein


def family_oracle(protein: AnnotatedProtein) -> np.ndarray:
    """Return the loss of an oracle that knows family, signal and alignment but not the couplings.

    ``-ln P(x_i | column of i)``, shape ``[residue]``, in nats.
    """
    return -np.log(protein.profile[np.arange(len(protein)), _letters(protein)])


def coupling_oracle(protein: AnnotatedProtein, visible: np.ndarray) -> np.ndarray:
    """Return the loss of an oracle that also reads the partner of a coupled residue where it is visible.

    The coupling is symmetric because both columns have the same uniform distribution over the partner letters:
    ``P(x_j | x_i) = f [x_j = partner(x_i)] + (1 - f) P(x_j)`` with fidelity f.

    Args:
        protein: a protein of the grammar.
        visible: [residue, residue] boolean, true at (i, j) if j is shown when i is predicted.

    Returns:
        Loss of every residue, shape ``[residue]``, in nats.
    """
    loss, letters = family_oracle(protein), _letters(protein)
    for pair in protein.contacts:
        for residue, partner in (pair, pair[::-1]):
            if visible[residue, partner]:
                loss[residue] = -np.log(_coupled_distribution(protein, residue, partner)[letters[residue]])
    return loss


def unigram_loss(proteins: list[AnnotatedProtein]) -> float:
    """Return the entropy of the residue composition, in nats: what a model that knows only composition reaches."""
    counts = np.bincount(np.concatenate([_letters(protein) for protein in proteins]), minlength=N_LETTERS)
    frequency = counts[counts > 0] / counts.sum()
    return float(-(frequency * np.log(frequency)).sum())


def _coupled_distribution(protein: AnnotatedProtein, residue: int, partner: int) -> np.ndarray:
    distribution = (1 - COUPLING_FIDELITY) * protein.profile[residue]
    distribution[INDEX[PARTNERS[protein.sequence[partner]]]] += COUPLING_FIDELITY
    return distribution


def _letters(protein: AnnotatedProtein) -> np.ndarray:
    return np.array([INDEX[letter] for letter in protein.sequence])
