// What a model's folder may hold: a copy of the list in src/files/list.rs, which tests/model_files.rs compares.

export const MODEL_FILES = {
  "needed": ["config.json", "tokenizer.json"],
  "optional": ["tokenizer_config.json", "special_tokens_map.json", "modules.json"],
  "sentence": ["sentence_bert_config.json", "config_sentence_transformers.json"],
  "weights": "model.safetensors",
  "index": "model.safetensors.index.json",
  "reference": "reference_vectors.json",
  "card": "README.md"
};
