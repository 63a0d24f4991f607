"""The README that lies beside trained weights."""

from collections.abc import Mapping
from dataclasses import asdict

from plmdepth.language_models.language_model import LanguageModel
from plmdepth.objectives.objective import Objective
from plmdepth.pretraining.recipe import Recipe
from plmdepth.pretraining.score import Score

_TEMPLATE = """\
# {name}

A {objective} protein language model with {n_layers} layers of width {width}, trained on the bundled grammar of
protein-like sequences (`dataset=demo`). It knows nothing of real proteins. It is here so that every measurement can be
tried offline, on a model whose data, and the best possible loss on them, are known.

## How it was made

    {command}

{recipe}

`log.csv` holds the training and validation loss (the objective's own, over the whole vocabulary, in nats) by step.

## What it learned

Mean loss in nats per residue on {valid_size} proteins of the validation split, over the twenty amino acids:

| targets | composition only | family oracle | this model | coupling oracle (best possible) |
|---|---|---|---|---|
{rows}

*Family oracle*: knows the family and the alignment of the protein, hence every column's distribution, but not the
couplings. *Coupling oracle*: also reads a coupled residue's partner, 24 or 32 columns away, where the model sees it. On
the coupled targets a model that does not use the partner cannot be better than the family oracle.
"""


def model_card(
    model: LanguageModel, objective: Objective, recipe: Recipe, scores: Mapping[str, Score], overrides: str
) -> str:
    """Return the text of the card, with the numbers of this run and the overrides that it needs."""
    names = {"all": "all", "coupled": "coupled, partner visible"}
    rows = [
        f"| {names[part]} | {each.unigram:.3f} | {each.family_oracle:.3f} | **{each.model:.3f}** "
        f"| {each.coupling_oracle:.3f} |"
        for part, each in scores.items()
    ]
    options = asdict(recipe)
    return _TEMPLATE.format(
        command=f"python train.py experiment=pretrain_tiny model={model.name} {overrides}".rstrip(),
        name=model.name,
        objective=objective.name,
        n_layers=model.n_layers,
        width=model.width,
        valid_size=recipe.valid_size,
        rows="\n".join(rows),
        recipe="\n".join(f"* `{key}`: {value}" for key, value in options.items() if key != "name"),
    )
