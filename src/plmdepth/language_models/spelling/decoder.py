"""How proteins are given to an encoder-decoder: what its encoder reads, and what its decoder was trained to write.

A decoder writes from left to right: it reads a start token and then its own text, one token behind, so the row that
reads a token predicts the next one. What it has written is shown to it, in training as here, the hidden residues
before the one that it predicts included; the encoder never sees them, and no row sees what it predicts.

The tokens of the decoder's rows are `Tokens`, those of the encoder their ``source``. A row that reads a residue is one
in the residue mask.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models.spelling.spelling import Presented, Spelling, Tokens


@dataclass(frozen=True, kw_only=True)
class SentinelSpelling(Spelling):
    """Each hidden residue of a protein becomes a sentinel of its own: the first the first, and so on.

    Attributes:
        sentinels: ids of the sentinels in the order in which they are used.
    """

    sentinels: tuple[int, ...]

    def present(self, tokens: Tokens, targets: Tensor) -> Presented:
        """Hide residues; each is predicted from its own row.

        Raises:
            InputError: a protein has more hidden residues than there are sentinels.
        """
        return replace(super().present(tokens, targets), tokens=self.corrupted(tokens, targets))

    def corrupted(self, tokens: Tokens, targets: Tensor) -> Tokens:
        """Return proteins with sentinels in the place of residues; as `present`."""
        most = int(targets.sum(1).max())
        if most > len(self.sentinels):
            raise InputError(
                f"{most} residues of a protein are hidden, and the model has {len(self.sentinels)} tokens to stand for "
                "them; lower objective.mask_fraction or dataset.max_length"
            )
        number = (targets.cumsum(1) - 1).clamp(0, len(self.sentinels) - 1)
        sentinels = torch.tensor(self.sentinels, device=tokens.ids.device)
        return replace(tokens, ids=torch.where(targets, sentinels[number], tokens.ids))


@dataclass(frozen=True, kw_only=True)
class WholeDecoderSpelling(Spelling):
    """The decoder writes the whole protein; its row i predicts residue i.

    ``MKTV`` with ``K`` hidden: the encoder reads ``M <mask> T V </s>``, the decoder ``<start> M K T V``.

    Attributes:
        start: id of the token with which the decoder begins.
    """

    start: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prefix:
            raise ValueError("a decoder begins with its start token: no token stands before the first residue")

    def present(self, tokens: Tokens, targets: Tensor) -> Presented:
        """Hide residues from the encoder; each is predicted from the decoder's row of the same number."""
        ids = torch.cat([torch.full_like(tokens.ids[:, :1], self.start), tokens.ids[:, :-1]], dim=1)
        residues = torch.cat([torch.zeros_like(tokens.residues[:, :1]), tokens.residues[:, :-1]], dim=1)
        source = super().present(tokens, targets).tokens
        written = Tokens(ids.masked_fill(~tokens.attended, self.pad), tokens.attended, residues, source)
        return Presented(written, labels=tokens.ids, scored=targets, context=residues)


@dataclass(frozen=True, kw_only=True)
class HiddenDecoderSpelling(SentinelSpelling):
    """The decoder writes each sentinel and then the residue that it stands for; the sentinel's row predicts it.

    ``MKTV`` with ``K`` and ``V`` hidden: the encoder reads ``M <0> T <1> </s>``, the decoder ``<start> <0> K <1> V``.

    Attributes:
        start: id of the token with which the decoder begins.
    """

    start: int

    def present(self, tokens: Tokens, targets: Tensor) -> Presented:
        """Hide residues from the encoder; each is predicted from the decoder's row that reads its sentinel."""
        source = self.corrupted(tokens, targets)
        counts = targets.sum(1)
        width = 2 * int(counts.max())
        text = torch.full((len(counts), width), self.pad, device=tokens.ids.device)
        number = torch.arange(width // 2, device=tokens.ids.device)
        present = number < counts[:, None]
        text[:, 0::2] = torch.tensor(self.sentinels, device=text.device)[number]
        text[:, 1::2][present] = tokens.ids[targets]
        written = present.repeat_interleave(2, dim=1)
        text = text.masked_fill(~written, self.pad)
        return _one_behind(text, written, self.start, self.pad, source)


def _one_behind(text: Tensor, written: Tensor, start: int, pad: int, source: Tokens) -> Presented:
    """Return what a decoder reads and predicts of a text in which every second token is a residue.

    Args:
        text: what it writes, ``[batch, token]``.
        written: true for every token but padding.
        start: id of the token with which it begins.
        pad: id of the padding token.
        source: what the encoder reads.
    """
    begin, end = torch.full_like(text[:, :1], start), torch.full_like(text[:, :1], pad)
    always, never = torch.ones_like(begin, dtype=torch.bool), torch.zeros_like(begin, dtype=torch.bool)
    reads_residue = torch.cat([never, written], dim=1)
    reads_residue[:, 1::2] = False
    predicts = torch.cat([written, never], dim=1)
    predicts[:, 0::2] = False
    tokens = Tokens(torch.cat([begin, text], 1), torch.cat([always, written], 1), reads_residue, source)
    return Presented(tokens, labels=torch.cat([text, end], 1), scored=predicts, context=reads_residue)
