"""Every request field that the dialects know, by route: honoured, without effect, or refused by name.

Fields of the structs are honoured unless listed here as without effect.
"""

from collections.abc import Mapping

from openbei.api.exchange.decisions import Decision, Decisions, Dialect

YES = Decision("honoured")


def _honoured(*names: str) -> Dialect:
    return dict.fromkeys(names, YES)


def _none(why: str) -> Decision:
    return Decision("none", why)


def _refused(hint: str, *unless: object) -> Decision:
    return Decision("refused", hint, unless)


_MODEL = {"model": _none("it selects one of several models before the route reads the request")}
_USER = {"user": _none("nothing is kept of who asks")}
_OPTIONS = {"options": _none("the hub's cache and waiting for models are not of this server")}
_PARAMETERS = {"parameters": _refused("send its fields at the top level", {})}
_CUT = _honoured("truncate", "truncation_direction")
_VLLM_CUT = _honoured("truncate_prompt_tokens", "truncation_side")
_VLLM_PARTS = _honoured("max_tokens_per_query", "max_tokens_per_doc")
_VLLM = {
    **_USER,
    "request_id": _none("the header x-request-id names a request"),
    "priority": _none("requests share the engine evenly, and answers do not depend on it"),
    "mm_processor_kwargs": _none("it is for images, which are refused"),
    "cache_salt": _none("nothing is cached"),
    "padding": _none("nothing is padded"),
    "add_special_tokens": _refused("send token ids, which are used as they are", True),
    "messages": _refused("send texts as input; a model's chat template is applied to them"),
    "chat_template": _refused("the checkpoint's own chat template is applied"),
    "chat_template_kwargs": _refused("rerankers take instruction, embedding models prompt_name", {}),
    "add_generation_prompt": _refused("send texts as input", False),
    "continue_final_message": _refused("send texts as input", False),
}
_VLLM_ACTIVATION = {
    "softmax": _refused("send use_activation", True),
    "activation": _refused("send use_activation", True),
}

_LITTLE_ENDIAN = _refused("answers are little-endian", "little", "native")

EMBEDDINGS: Decisions = {
    "OpenAI": {**_MODEL, **_USER, **_honoured("input", "encoding_format", "dimensions")},
    "TEI": {**_CUT, **_honoured("prompt_name")},
    "vLLM": {
        **_VLLM,
        **_VLLM_CUT,
        **_honoured("normalize", "use_activation"),
        "embed_dtype": _refused("embeddings are float32; use encoding_format for smaller ones", "float32"),
        "endianness": _LITTLE_ENDIAN,
    },
    "Jina": {
        **_honoured("task", "normalized", "embedding_type"),
        "late_chunking": _refused("/v1/multi-vector gives the vectors of tokens", False),
        "return_multivector": _refused("/v1/multi-vector gives the vectors of tokens", False),
        "encoding_type": _refused("send encoding_format"),
    },
    "NVIDIA NIM": _honoured("input_type"),
    "Voyage AI": {
        "output_dimension": _refused("send dimensions"),
        "output_dtype": _refused("send encoding_format", "float"),
        "truncation": _refused("send truncate", True),
    },
    "Mistral AI": {
        "output_dimension": _refused("send dimensions"),
        "output_dtype": _refused("send encoding_format", "float"),
    },
    "Nomic": {
        "dimensionality": _refused("send dimensions"),
        "task_type": _refused("send task"),
        "long_text_mode": _refused("long texts are truncated", "truncate"),
    },
    "Infinity": {"modality": _refused("send texts: this model reads text only", "text")},
}

_INPUTS = {**_MODEL, **_CUT, **_VLLM_CUT, **_OPTIONS, **_honoured("inputs", "prompt_name")}
EMBED: Decisions = {"TEI": {**_INPUTS, **_honoured("normalize", "dimensions")}, "Hugging Face": _PARAMETERS}
EMBED_ALL: Decisions = {
    "TEI": {
        **_INPUTS,
        "normalize": _refused("vectors of tokens are returned as the model makes them", False),
        "dimensions": _refused("use /v1/multi-vector"),
    },
    "openbei": _honoured("input_type"),
    "vLLM": {**_honoured("encoding_format", "embed_dtype"), "endianness": _LITTLE_ENDIAN},
    "Hugging Face": _PARAMETERS,
}
MULTI_VECTOR: Decisions = {
    "Jina": {
        **_MODEL,
        **_honoured("input", "input_type", "dimensions", "embedding_type", "encoding_format"),
        "normalized": _refused("vectors of tokens are returned as the model makes them", True),
    },
    "OpenAI": _USER,
    "TEI": {**_CUT, **_honoured("prompt_name")},
    "vLLM": {**_VLLM, **_VLLM_CUT, **_honoured("embed_dtype"), "endianness": _LITTLE_ENDIAN},
}
EMBED_SPARSE: Decisions = {"TEI": _INPUTS, "Hugging Face": _PARAMETERS}
SIMILARITY: Decisions = {"TEI": {**_MODEL, **_OPTIONS, **_honoured("inputs", "parameters")}}
SIMILARITY_PARAMETERS: Decisions = {"TEI": {**_CUT, **_VLLM_CUT, **_honoured("prompt_name")}}

RANK: Decisions = {
    "TEI": {**_MODEL, **_CUT, **_VLLM_CUT, **_honoured("query", "texts", "raw_scores", "return_text")},
    "openbei": _honoured("instruction"),
    "LiteLLM": _honoured("top_n", "return_documents"),
    "Voyage AI": {"top_k": _refused("send top_n")},
    "vLLM": _VLLM_PARTS,
    "Hugging Face": {**_OPTIONS, **_PARAMETERS},
}
RERANK: Decisions = {
    "Jina": {
        **_MODEL,
        **_honoured("query", "documents", "top_n", "return_documents"),
        "return_embeddings": _refused("rerankers here give scores only", False),
        "truncation": _refused("send truncate", True),
        "max_doc_length": _refused("send max_tokens_per_doc"),
        "max_query_length": _refused("send max_tokens_per_query"),
    },
    "Cohere": {
        "priority": _VLLM["priority"],
        "rank_fields": _refused("send each document as one text", ["text"]),
        "max_chunks_per_doc": _refused("documents are read up to the model's limit, as one chunk", 1),
    },
    "vLLM": {
        **_VLLM,
        **_VLLM_CUT,
        **_VLLM_PARTS,
        **_VLLM_ACTIVATION,
        **_honoured("use_activation", "instruction"),
    },
    "TEI": {**_CUT, **_honoured("raw_scores"), "return_text": _refused("send return_documents")},
    "Voyage AI": {"top_k": _refused("send top_n")},
    "Mixedbread": {"top_k": _refused("send top_n"), "return_input": _refused("send return_documents")},
}
SCORE: Decisions = {
    "vLLM": {
        **_MODEL,
        **_VLLM,
        **_VLLM_CUT,
        **_VLLM_PARTS,
        **_VLLM_ACTIVATION,
        **_honoured("text_1", "text_2", "queries", "documents", "data_1", "data_2", "use_activation", "instruction"),
        "encoding_format": _refused("scores are numbers", "float"),
    },
    "TEI": {**_CUT, **_honoured("raw_scores")},
}

_ZERO_SHOT = _refused("serve a classifier that has these labels")
_PIPELINE = dict.fromkeys(("candidate_labels", "multi_label", "hypothesis_template"), _ZERO_SHOT)
CLASSIFY: Decisions = {
    "vLLM": {**_MODEL, **_VLLM, **_VLLM_CUT, **_VLLM_ACTIVATION, **_honoured("input", "use_activation")},
    "Jina": {"labels": _ZERO_SHOT, "classifier_id": _ZERO_SHOT},
    "TEI": {**_CUT, **_honoured("raw_scores")},
}
PREDICT: Decisions = {
    "TEI": {**_MODEL, **_CUT, **_VLLM_CUT, **_OPTIONS, **_honoured("inputs", "raw_scores")},
    "Hugging Face": {"parameters": _refused("send it to /", {}), **_PIPELINE},
    "Jina": {"labels": _ZERO_SHOT, "classifier_id": _ZERO_SHOT},
}
_STRIDE = _refused("split long texts: results of overlapping windows are not merged", 0)
PREDICT_TOKENS: Decisions = {
    "BEI": {
        **_MODEL,
        **_CUT,
        **_VLLM_CUT,
        **_OPTIONS,
        **_honoured("inputs", "raw_scores", "aggregation_strategy"),
    },
    "Hugging Face": {
        "parameters": _refused("send it to /", {}),
        "stride": _STRIDE,
        "ignore_labels": _refused("send it to /, in parameters", ["O"]),
        **_PIPELINE,
    },
}
PIPELINE: Decisions = {"Hugging Face": {**_MODEL, **_OPTIONS, **_honoured("inputs", "parameters")}}
_ANY_PARAMETERS = {
    **_PIPELINE,
    "truncation": _refused("texts are truncated to the model's limit", True, "longest_first", "only_first"),
    "max_length": _refused("texts are cut at the model's limit"),
    "padding": _none("nothing is padded"),
    "batch_size": _none("batches are made by the server"),
}
TEXT_PARAMETERS: Decisions = {
    "Hugging Face": {
        **_ANY_PARAMETERS,
        **_honoured("top_k", "function_to_apply"),
        "return_all_scores": _refused("send top_k", True),
    }
}
TOKEN_PARAMETERS: Decisions = {
    "Hugging Face": {
        **_ANY_PARAMETERS,
        **_honoured("aggregation_strategy", "ignore_labels"),
        "stride": _STRIDE,
        "grouped_entities": _refused("send aggregation_strategy"),
        "ignore_subwords": _refused("send aggregation_strategy"),
    }
}

_COHERE = {
    **_MODEL,
    **_honoured("texts", "input_type", "embedding_types", "output_dimension", "truncate", "max_tokens"),
    "priority": _VLLM["priority"],
    "images": _refused("send texts: this model reads text only", []),
}
COHERE_EMBED: Decisions = {"Cohere": {**_COHERE, **_honoured("inputs")}}
COHERE_EMBED_V1: Decisions = {"Cohere": {**_COHERE, "inputs": _refused("send texts, or use /v2/embed")}}
TOKENIZE: Decisions = {"TEI": {**_MODEL, **_honoured("inputs", "add_special_tokens", "prompt_name")}}
DECODE: Decisions = {"TEI": {**_MODEL, **_honoured("ids", "skip_special_tokens")}}
VERTEX: Decisions = {"Vertex AI": {"instances": YES, **_MODEL, **_PARAMETERS}}

BY_ROUTE: Mapping[str, Decisions] = {
    "/v1/embeddings": EMBEDDINGS,
    "/embeddings": EMBEDDINGS,
    "/v1/embed": COHERE_EMBED_V1,
    "/v2/embed": COHERE_EMBED,
    "/embed": EMBED,
    "/embed_all": EMBED_ALL,
    "/v1/multi-vector": MULTI_VECTOR,
    "/embed_sparse": EMBED_SPARSE,
    "/similarity": SIMILARITY,
    "/rerank": RANK,
    "/v1/rerank": RERANK,
    "/v2/rerank": RERANK,
    "/v1/score": SCORE,
    "/score": SCORE,
    "/v1/classify": CLASSIFY,
    "/classify": CLASSIFY,
    "/predict": PREDICT,
    "/predict_tokens": PREDICT_TOKENS,
    "/tokenize": TOKENIZE,
    "/decode": DECODE,
    "/vertex": VERTEX,
}
"""Route -> its decisions. /rerank with `documents` uses those of /v1/rerank."""
