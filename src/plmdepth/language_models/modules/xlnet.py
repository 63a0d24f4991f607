"""XLNet's two streams as one (Yang et al. 2019): parameters of transformers' XLNet, batch first, a row a token.

XLNet has a content stream, in which a token knows itself, and a query stream, which predicts a token and knows its
place alone. Both have the same weights, and both attend to the content stream. With all targets hidden at once, nothing
reads the content stream of a target, and nothing predicts from the query stream of any other token. So one state is
enough: that of the query stream where a token is hidden, of the content stream where it is shown.
Hidden tokens are seen by none.
"""

import torch
from torch import Tensor, nn
from transformers import XLNetConfig
from transformers.initialization import normal_
from transformers.modeling_outputs import MaskedLMOutput
from transformers.models.xlnet.modeling_xlnet import XLNetFeedForward, XLNetPreTrainedModel

_WAVELENGTH = 10_000


def relative_positions(length: int, width: int, clamp: int, like: Tensor) -> Tensor:
    """Return sines and cosines of the distances ``length, length - 1, ..., 1 - length``, ``[distance, feature]``.

    Args:
        length: number of tokens.
        width: number of features, the sines first.
        clamp: longest distance that is told from longer ones; 0 or less tells all apart.
        like: a tensor of the wanted device and precision.
    """
    distances = torch.arange(length, -length, -1, dtype=torch.float32, device=like.device)
    if clamp > 0:
        distances = distances.clamp(-clamp, clamp)
    exponents = torch.arange(0, width, 2, dtype=torch.float32, device=like.device) / width
    angles = torch.outer(distances, 1 / _WAVELENGTH**exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(like)


class RelativeAttention(nn.Module):
    """Attention by content, distance and segment; the norm after it is applied by the layer.

    Attributes:
        layer_norm: the norm of the sum of the stream and what attention adds.
    """

    def __init__(self, config: XLNetConfig) -> None:
        super().__init__()
        heads = (config.n_head, config.d_model // config.n_head)
        self.q, self.k, self.v, self.o, self.r = (nn.Parameter(torch.zeros(config.d_model, *heads)) for _ in range(5))
        self.r_r_bias, self.r_s_bias, self.r_w_bias = (nn.Parameter(torch.zeros(heads)) for _ in range(3))
        self.seg_embed = nn.Parameter(torch.zeros(2, *heads))
        self.layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)

    def forward(self, state: Tensor, positions: Tensor, other_segment: Tensor, unseen: Tensor) -> Tensor:
        """Return what is added to the stream, ``[batch, token, feature]``; arguments as of `Layer`."""
        query, key, value = (torch.einsum("bih,hnd->bnid", state, each) for each in (self.q, self.k, self.v))
        scores = self._scores(query, key, positions, other_segment)
        weights = scores.masked_fill(unseen[:, None, None], torch.finfo(scores.dtype).min).softmax(-1)
        return torch.einsum("bnid,hnd->bih", weights @ value, self.o)

    def _scores(self, query: Tensor, key: Tensor, positions: Tensor, other: Tensor) -> Tensor:
        """Return how token i scores token j, ``[batch, head, i, j]``."""
        content = (query + self.r_w_bias[:, None]) @ key.transpose(-1, -2)
        at_distance = (query + self.r_r_bias[:, None]) @ torch.einsum("ph,hnd->ndp", positions, self.r)
        token = torch.arange(query.shape[2], device=query.device)
        row = len(token) - token[:, None] + token  # the distance is i - j, and the first row that of the length
        distance = at_distance.gather(-1, row.expand(*at_distance.shape[:2], -1, -1))
        same, different = ((query + self.r_s_bias[:, None]) @ self.seg_embed.permute(1, 2, 0)).split(1, dim=-1)
        return (content + distance + torch.where(other[:, None], different, same)) / query.shape[-1] ** 0.5


class Layer(nn.Module):
    """A block whose state is ``[batch, token, feature]``."""

    def __init__(self, config: XLNetConfig) -> None:
        super().__init__()
        self.rel_attn = RelativeAttention(config)
        self.ff = XLNetFeedForward(config)

    def forward(self, state: Tensor, positions: Tensor, other_segment: Tensor, unseen: Tensor) -> Tensor:
        """Return ``LN(x + mlp(x))`` with ``x = LN(h + attention(h))``.

        Args:
            state: h, ``[batch, token, feature]``.
            positions: of `relative_positions`.
            other_segment: true where two tokens are of different segments, ``[batch, token, token]``.
            unseen: tokens to which none attends, ``[batch, token]``.
        """
        added = self.rel_attn(state, positions, other_segment, unseen)
        after: Tensor = self.ff(self.rel_attn.layer_norm(state + added))
        return after


class _Transformer(nn.Module):
    """Embeddings and blocks."""

    def __init__(self, config: XLNetConfig) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.mask_emb = nn.Parameter(torch.zeros(1, 1, config.d_model))
        self.layer = nn.ModuleList([Layer(config) for _ in range(config.n_layer)])


class OneStreamXLNet(XLNetPreTrainedModel):
    """XLNet with its head, where what is hidden is told by the hidden tokens alone."""

    _tied_weights_keys = {"lm_loss.weight": "transformer.word_embedding.weight"}  # noqa: RUF012 (as in the parent)

    def __init__(self, config: XLNetConfig) -> None:
        super().__init__(config)
        self.transformer = _Transformer(config)
        self.lm_loss = nn.Linear(config.d_model, config.vocab_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, _Transformer | RelativeAttention):
            for parameter in module.parameters(recurse=False):
                normal_(parameter, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        """Return the embedding of tokens, to which the head is tied."""
        return self.transformer.word_embedding

    def get_output_embeddings(self) -> nn.Module:
        """Return the head."""
        return self.lm_loss

    def forward(
        self, input_ids: Tensor, hidden: Tensor, attended: Tensor, segments: Tensor, output_hidden_states: bool = False
    ) -> MaskedLMOutput:
        """Run the model; all arguments are ``[batch, token]``.

        Args:
            input_ids: token ids; those of hidden tokens are not read.
            hidden: tokens that are predicted and seen by none.
            attended: true for every token but padding.
            segments: number of each token's segment.
            output_hidden_states: return ``h_0 .. h_L``, ``[batch, token, feature]`` each.
        """
        embeddings = self.transformer.word_embedding(input_ids)
        state = torch.where(hidden[..., None], self.transformer.mask_emb.to(embeddings), embeddings)
        positions = relative_positions(state.shape[1], state.shape[2], self.config.clamp_len, state)
        other_segment, unseen = segments[:, :, None] != segments[:, None], hidden | ~attended
        states = [state]
        for layer in self.transformer.layer:
            states.append(layer(states[-1], positions, other_segment, unseen))
        logits = self.lm_loss(states[-1])
        return MaskedLMOutput(logits=logits, hidden_states=tuple(states) if output_hidden_states else None)
