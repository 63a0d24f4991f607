"""What is published of leaving protein language models early: numbers that stand word by word in their source.

Of Hart et al. the abstract alone was at hand, whose numbers cover all of their models and tasks together; the tables of
the paper, a number a model and task, were not, so none of them is here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Quantity = Literal["gain", "efficiency"]


@dataclass(frozen=True)
class Published:
    """A number, or the range that it lies in.

    Attributes:
        quantity: ``gain``, of the score over the last layer's, in percentage points; ``efficiency``, percent saved.
        stated: the number as it is published.
        models: options of the models that it covers.
        tasks: options of the data sets that it covers.
        fallback: what was taken of a protein that was never sure.
        source: where it stands.
        proteins: proteins of the test set, by task, where they are known.
    """

    quantity: Quantity
    stated: str
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    fallback: str
    source: str
    proteins: Mapping[str, int] = field(default_factory=dict)


# "performance gains ranging from 0.4 to 7.01 percentage points"
_GAIN = Published(
    quantity="gain",
    stated="0.4 to 7.01",
    # esm2_t33_650M_UR50D, Rostlab/prot_bert and Rostlab/prot_albert in the authors' code
    models=("esm2_650m", "prot_bert", "prot_albert"),
    # "non-structural prediction tasks": EC, GO and CL; secondary structure is not one
    tasks=("ec", "go_bp", "go_mf", "go_cc", "subcellular"),
    fallback="most_confident",  # by the summary at arxivlens.com; the abstract names none
    source="Hart et al. 2026, arXiv:2602.20449, abstract",
    proteins={"subcellular": 2773},  # github.com/ahart34/protein, early_exit/file_preview_2.txt
)
# "simultaneously improving efficiency by over 10 percent across models and non-structural prediction tasks"
PUBLISHED: tuple[Published, ...] = (_GAIN, replace(_GAIN, quantity="efficiency", stated="over 10"))
