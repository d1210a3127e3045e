"""A pre-LN BERT encoder with relative or absolute positions, for `transformers`.

    from transformers import AutoModelForMaskedLM, AutoTokenizer
    # or AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification
    model = AutoModelForMaskedLM.from_pretrained(FOLDER, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, trust_remote_code=True)

Shapes: B sequences, T tokens, C width, H heads, D = C / H, V vocabulary.
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutput,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)


class WgradConfig(PretrainedConfig):
    model_type = "wgrad"


class Embeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.position_embedding_type == "absolute":
            self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, input_ids):
        x = self.word_embeddings(input_ids)
        if hasattr(self, "position_embeddings"):
            x = x + self.position_embeddings.weight[: input_ids.shape[1]]
        return self.LayerNorm(x)


class SelfAttention(nn.Module):
    """softmax((q·k + q·P[bucket(j - i)]) / sqrt D) · v (Shaw et al. 2018)."""

    def __init__(self, config):
        super().__init__()
        width = config.hidden_size
        self.heads, self.size = config.num_attention_heads, width // config.num_attention_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        if config.position_embedding_type == "relative_bucket":
            self.distance_embedding = nn.Embedding(config.relative_attention_num_buckets, self.size)

    def forward(self, x, allowed):
        batch, tokens, width = x.shape
        q, k, v = (
            part(x).view(batch, tokens, self.heads, self.size).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2)  # [B, H, T, T]
        if hasattr(self, "distance_embedding"):
            table = self.distance_embedding.weight
            buckets = table.shape[0]
            position = torch.arange(tokens, device=x.device)
            distance = position[None, :] - position[:, None]
            bucket = distance.clamp(-(buckets // 2), buckets // 2 - 1) % buckets
            scores = scores + (q @ table.T).gather(-1, bucket.expand(*scores.shape))
        scores = (scores / self.size**0.5).masked_fill(~allowed, torch.finfo(scores.dtype).min)
        # A row without any allowed key gives zeros.
        y = (scores.softmax(-1) * allowed) @ v
        return y.transpose(1, 2).reshape(batch, tokens, width)


class Dense(nn.Module):
    """One linear layer, with a norm before it where `norm` says so."""

    def __init__(self, config, inputs, outputs, norm=False):
        super().__init__()
        if norm:
            self.LayerNorm = nn.LayerNorm(inputs, eps=config.layer_norm_eps)
        self.dense = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x):
        return self.dense(self.LayerNorm(x) if hasattr(self, "LayerNorm") else x)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self = SelfAttention(config)
        self.output = Dense(config, config.hidden_size, config.hidden_size)

    def forward(self, x, allowed):
        return self.output(self.self(self.LayerNorm(x), allowed))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Dense(config, config.hidden_size, config.intermediate_size, norm=True)
        self.output = Dense(config, config.intermediate_size, config.hidden_size)

    def forward(self, x, allowed):
        x = x + self.attention(x, allowed)
        return x + self.output(functional.gelu(self.intermediate(x)))


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))


class WgradPreTrainedModel(PreTrainedModel):
    config_class = WgradConfig
    base_model_prefix = "bert"

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)


class WgradModel(WgradPreTrainedModel):
    """Hidden states [B, T, C]; the last ones are normed."""

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if getattr(config, "pooler", False):
            self.pooler = nn.Module()
            self.pooler.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self):
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value):
        self.embeddings.word_embeddings = value

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False, **_):
        batch, tokens = input_ids.shape
        allowed = torch.ones(batch, 1, tokens, tokens, dtype=torch.bool, device=input_ids.device)
        if attention_mask is not None and self.config.mask_padding:
            real = attention_mask.bool()
            allowed = (real[:, None, :, None] & real[:, None, None, :]).expand_as(allowed)
        x = self.embeddings(input_ids)
        states = [x]
        for layer in self.encoder.layer:
            x = layer(x, allowed)
            states.append(x)
        return BaseModelOutput(
            last_hidden_state=self.LayerNorm(x),
            hidden_states=tuple(states) if output_hidden_states else None,
        )


class Head(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.predictions = nn.Module()
        self.predictions.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=False)


class WgradForMaskedLM(WgradPreTrainedModel):
    """Logits [B, T, V]."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = WgradModel(config)
        # A tied head is the embedding table itself.
        self.cls = None if config.tie_word_embeddings else Head(config)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, labels=None, **options):
        output = self.bert(input_ids, attention_mask, **options)
        table = self.cls.predictions.decoder if self.cls else self.bert.embeddings.word_embeddings
        logits = functional.linear(output.last_hidden_state, table.weight)
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=output.hidden_states)


class WgradForSequenceClassification(WgradPreTrainedModel):
    """Logits [B, labels] of the first token or the mean over all; one number for regression. There is no dropout here."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = WgradModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, labels=None, **options):
        output = self.bert(input_ids, attention_mask, **options)
        hidden = output.last_hidden_state
        if getattr(self.config, "classifier_pooling", "cls") == "cls":
            read = hidden[:, 0]
        elif attention_mask is None:
            read = hidden.mean(1)
        else:
            real = attention_mask[:, :, None].to(hidden.dtype)
            read = (hidden * real).sum(1) / real.sum(1)
        if hasattr(self.bert, "pooler"):
            read = self.bert.pooler.dense(read).tanh()
        logits, loss = self.classifier(read), None
        regression = self.config.num_labels == 1 and self.config.problem_type != "multi_label_classification"
        if labels is not None and regression:
            loss = functional.mse_loss(logits[:, 0], labels.to(logits.dtype))
        elif labels is not None and self.config.problem_type == "multi_label_classification":
            loss = functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        elif labels is not None:
            loss = functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=output.hidden_states)


class WgradForTokenClassification(WgradPreTrainedModel):
    """Logits [B, T, labels] of every token. There is no dropout here."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = WgradModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, labels=None, **options):
        output = self.bert(input_ids, attention_mask, **options)
        logits, loss = self.classifier(output.last_hidden_state), None
        if labels is not None:
            loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=output.hidden_states)
