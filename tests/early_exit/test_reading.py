"""What heads read: residues in the order of the protein, however it is spelt."""

import pytest
import torch

from plmdepth.early_exit.reading import ProteinReader, ResidueReader
from plmdepth.probes.layerwise.features import mean_state, spelt
from tests.stacks import PROTEINS, stack_of


@pytest.mark.parametrize("family", ["esm2", "progen2_reverse", "prot_t5_encoder"])
def test_residues_are_read_in_the_order_of_their_protein(family: str) -> None:
    stack = stack_of(family)
    tokens = spelt(stack, [protein.sequence for protein in PROTEINS], "cpu")
    reader = ResidueReader(stack.spelling)
    places = reader.places(tokens)
    present = reader.present(places)
    assert present.sum(1).tolist() == [len(protein) for protein in PROTEINS]
    state = tokens.ids[..., None].expand(-1, -1, 2).double()
    letters = stack.spelling.letters
    read = "".join(protein.sequence for protein in PROTEINS)
    wanted = [letters.get(letter, letters["X"]) for letter in read]
    assert reader.rows(3, state, places)[:, 0].tolist() == wanted
    kept = torch.tensor([True, False, True])
    some = reader.rows(3, state[kept], places[kept])[:, 0].tolist()
    first, second = (len(protein) for protein in PROTEINS[:2])
    assert some == wanted[:first] + wanted[first + second :]


def test_a_protein_is_one_row_of_what_its_layer_pools() -> None:
    stack = stack_of("esm2")
    tokens = spelt(stack, [protein.sequence for protein in PROTEINS], "cpu")
    reader = ProteinReader(lambda layer, states, residues: layer * mean_state(states, residues))
    places = reader.places(tokens)
    assert reader.present(places).tolist() == [[True]] * 3
    state = torch.randn(*tokens.ids.shape, 5)
    wanted = [2 * row[mask].mean(0) for row, mask in zip(state, tokens.residues, strict=True)]
    torch.testing.assert_close(reader.rows(2, state, places), torch.stack(wanted))
