import math

import pytest
import torch

from plmdepth.proteins.protein import CANONICAL
from plmdepth.tuned_lens.target_states import divergence_from_model, target_states
from tests.recorder import watched
from tests.stacks import EVERYWHERE, example_for, stack_of


@pytest.mark.parametrize("family", sorted(EVERYWHERE))
def test_the_states_at_the_targets_come_sequence_by_sequence(family: str) -> None:
    stack = stack_of(family)
    example = example_for(stack)
    ours = target_states(stack, example)
    for layer, state in enumerate(watched(stack).states):
        rows = [state[i, j] for i, j in example.scored.nonzero().tolist()]
        assert torch.equal(ours[layer], torch.stack(rows))


def test_the_divergence_runs_from_the_model_to_the_reading_over_the_twenty_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    spelling = stack_of("esm2").spelling
    logits, final = torch.randn(2, 3, 33, generator=generator), torch.randn(3, 33, generator=generator)
    ours = divergence_from_model(logits, final, spelling.amino_acids)
    for layer in range(2):
        for target in range(3):
            q, p = (
                [math.exp(x[target, spelling.letters[letter]].item()) for letter in CANONICAL]
                for x in (logits[layer], final)
            )
            expected = sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
            assert ours[layer, target].item() == pytest.approx(expected, rel=1e-4)
