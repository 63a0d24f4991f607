"""``--help``: what can be composed, with a line on each option."""

from pathlib import Path

from plmdepth.commands.overrides import config_groups

_USAGE = {
    "analyze": """\
analyze.py: measure what each layer of a protein language model does.

  python analyze.py                                          the bundled model on the bundled proteins
  python analyze.py model=esm2_8m dataset=fasta dataset.path=my.fasta
  python analyze.py -m model=tiny_masked,tiny_autoregressive metric=logit_lens,residual
  python analyze.py -m model=tiny_masked,tiny_autoregressive metric=effective_depth   ends in a table over models
  python analyze.py metric=logit_lens lens=tuned lens.path=DIR   with a lens that train.py fitted
  python analyze.py exit=early probe_run=PATH     how many layers a task needs; with a probe that train.py fitted
  python analyze.py exit=early probe_run=PATH predict=my.fasta    labels of new proteins, to predict_to=FILE

A cell is model x dataset x metric; -m runs a grid of them. A record is written to
outputs/analyze/<model>/<dataset>/<metric>/<id>/; a finished cell is not run again (force=true repeats it).
The scalars of a grid are written to outputs/comparison.csv.
""",
    "train": """\
train.py: train a language model on the bundled grammar, or fit a probe to a frozen one.

  python train.py experiment=pretrain_tiny model=tiny_masked     the recipe of a bundled model (minutes on a CPU)
  python train.py probe=tuned_lens model=tiny_masked dataset.split=train dataset.size=512     a lens for lens=tuned
  python train.py probe=linear model=tiny_masked dataset=demo_function     a head on every layer: which serves the task
  python train.py probe=contact dataset=contact dataset.root=DIR     which layer's attention holds the contacts

A record with weights, log, scores and a model card is written to outputs/train/<model>/<dataset>/pretraining/<id>/;
its weights are used by model.weights=PATH. A probe's record is in .../<dataset>/<probe>/<id>/.
""",
}
_KEYS = {
    "analyze": """\
  model.weights=hub|bundled|random|PATH   model.miniature=true   model.dtype=float32|bfloat16|float16
  dataset.path=FILE   dataset.limit=N   dataset.max_length=N   dataset.length_policy=error|truncate|skip
  objective.mask_fraction=0.15   objective.noise_levels=[0.2,0.8]   control.layers=[7,8]   lens.path=DIR
  exit.threshold=X   exit.fallback=last|most_confident   exit.temperature=true   exit.residue_share=0.8
  exit.confidence=max_probability|mean_certainty
""",
    "train": """\
  training.steps=N   training.batch_size=N   training.learning_rate=X   objective.mask_fraction=0.3
  model.weights=bundled|hub|PATH   probe.steps=N   probe.batch_size=N   probe.held_out=0.125
  dataset.root=DIR   probe.epochs=N   probe.pooling=mean|cls|attention   probe.layers=[0,6,12]
  probe.cache=false   probe.cache_gigabytes=50   probe.cumulative=true (contact)
""",
}
_COMMON = """\
Keys of any option are set as group.key=value:
{keys}  seed=0   force=true   outputs=DIR
--cfg job prints the whole configuration. Exit codes: 0 done, 1 failed, 2 wrong input.
"""


def help_text(conf: Path, entry: str) -> str:
    """Return the help of an entry point.

    Args:
        conf: the folder of configurations.
        entry: ``analyze`` or ``train``.
    """
    used = (conf / f"{entry}.yaml").read_text(encoding="utf-8")
    blocks = [_block(conf, group, names) for group, names in config_groups(conf).items() if f"{group}:" in used]
    return "\n".join([_USAGE[entry], *blocks, _COMMON.format(keys=_KEYS[entry])])


def _block(conf: Path, group: str, names: list[str]) -> str:
    width = max(len(name) for name in names)
    lines = [f"  {name:<{width}}  {_first_comment(conf / group / f'{name}.yaml')}" for name in names]
    return "\n".join([f"{group}=", *lines, ""])


def _first_comment(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#") and "@package" not in line]
    return comments[0] if comments else ""
