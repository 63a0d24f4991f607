"""What an early-exit study can be asked for, and what it refuses."""

import pytest

from plmdepth.early_exit.options import EarlyExitStudy
from plmdepth.early_exit.policy import max_probability, mean_certainty
from plmdepth.errors import InputError
from plmdepth.proteins.tasks.task import Kind


@pytest.mark.parametrize("threshold", [-0.1, -1])
def test_a_negative_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match=r"exit.threshold=-.*: a confidence from 0"):
        EarlyExitStudy(threshold=threshold)


@pytest.mark.parametrize("share", [0, -0.5, 1.01, 80])
def test_a_share_is_above_zero_and_at_most_one(share: float) -> None:
    with pytest.raises(InputError, match=r"exit.residue_share=.*: a share above 0 and at most 1"):
        EarlyExitStudy(residue_share=share)


def test_memory_is_above_zero() -> None:
    with pytest.raises(InputError, match=r"exit.memory_gigabytes must be above 0, got 0"):
        EarlyExitStudy(memory_gigabytes=0)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "residue"])
def test_the_likeliest_class_counts_unless_something_else_is_asked_for(kind: Kind) -> None:
    found = EarlyExitStudy().protein_confidence(kind)
    assert found.certainty is max_probability
    assert found.share == (0.8 if kind == "residue" else 1.0)


def test_options_are_for_the_tasks_that_they_mean_something_for() -> None:
    assert EarlyExitStudy(confidence="mean_certainty").protein_confidence("multilabel").certainty is mean_certainty
    assert EarlyExitStudy(residue_share=0.5).protein_confidence("residue").share == 0.5
    for kind, unit in (("multiclass", "protein"), ("residue", "residue")):
        with pytest.raises(InputError, match=rf"one label a {unit}: use exit.confidence=max_probability"):
            EarlyExitStudy(confidence="mean_certainty").protein_confidence(kind)
    for kind in ("multiclass", "multilabel"):
        with pytest.raises(InputError, match=r"exit.residue_share=0.5 is for labels of residues; .* leave it out"):
            EarlyExitStudy(residue_share=0.5).protein_confidence(kind)
