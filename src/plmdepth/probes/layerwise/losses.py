"""What heads minimise, one number a layer, and the probabilities that they give."""

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from plmdepth.proteins.tasks.task import Kind

LayerLoss = Callable[[Tensor, Tensor], Tensor]
"""From logits ``[row, layer, class]`` and labels to the mean loss over rows, ``[layer]``, nats."""


def multilabel_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy, a mean over rows and classes; labels ``[row, class]``, boolean."""
    wanted = labels[:, None].to(logits).expand_as(logits)
    return binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(dim=(0, 2))


def multiclass_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy; labels ``[row]``. Of no row, as where no residue of a batch is scored, it is 0."""
    per_row = cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1]), reduction="none")
    return per_row.view(-1, logits.shape[1]).sum(0) / max(len(labels), 1)


def loss_of(kind: Kind) -> LayerLoss:
    """Return the loss of a kind of task."""
    return multilabel_loss if kind == "multilabel" else multiclass_loss


def probabilities(logits: Tensor, kind: Kind) -> Tensor:
    """Return probabilities of classes: independent for ``multilabel``, else adding up to 1; single precision."""
    return logits.float().sigmoid() if kind == "multilabel" else logits.float().softmax(-1)
