"""A language-model serving engine: continuous batching, chunked prefill, and a prefix cache of KV blocks over memory tiers."""
