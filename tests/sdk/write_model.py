"""Owns the bytes of the test model: a random-weight GGUF of half a megabyte. Knows nothing of servers.

    python write_model.py FILE

The same bytes on every machine: weights come from a fixed seed, written as float32. The vocabulary is
SentencePiece in kind: special tokens, 256 bytes and every printable ASCII character as its own piece.
The output rows of special and byte tokens are zero, so that at temperature 0 only printable pieces
win and nothing ends the answer but `max_tokens` or a grammar. A request that asks for a tool raises
the piece `<tool_call>` with `logit_bias`; from there on llama.cpp's grammar leads.
"""

import os
import sys

import gguf
import numpy as np

LAYERS, WIDTH, HEADS, INNER, CONTEXT = 2, 64, 4, 128, 1 << 17
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<tool_call>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = ["\u2581"] + [chr(code) for code in range(0x21, 0x7F)]
CHATML = """\
{%- if tools %}<|im_start|>system
# Tools
You may call one or more functions. They are described within <tools></tools>:
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
Answer a call with <tool_call>{"name": <name>, "arguments": <arguments>}</tool_call><|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == "tool" %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content or "" }}
{%- for call in message.tool_calls or [] %}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def write(path: str) -> None:
    """Writes the model beside `path`, then renames it: a half-written file never has the name."""
    scratch = f"{path}.{os.getpid()}"
    out = gguf.GGUFWriter(scratch, "llama")
    describe(out)
    for name, values in weights().items():
        out.add_tensor(name, values.astype(np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    os.replace(scratch, path)


def describe(out: gguf.GGUFWriter) -> None:
    tokens = SPECIAL + BYTES + PIECES
    kinds = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 4 + [gguf.TokenType.USER_DEFINED]
    kinds += [gguf.TokenType.BYTE] * len(BYTES) + [gguf.TokenType.NORMAL] * len(PIECES)
    out.add_name("ember-test")
    out.add_file_type(gguf.LlamaFileType.ALL_F32)
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores([0.0] * len(tokens))
    out.add_token_types(kinds)
    out.add_unk_token_id(0)
    out.add_bos_token_id(1)
    out.add_eos_token_id(SPECIAL.index("<|im_end|>"))
    out.add_add_bos_token(True)
    out.add_add_space_prefix(False)
    out.add_chat_template(CHATML)


def weights() -> dict[str, np.ndarray]:
    random = np.random.RandomState(7411)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.standard_normal((rows, columns)) / np.sqrt(columns)

    silent = len(SPECIAL) + len(BYTES)
    vocabulary = silent + len(PIECES)
    tensors = {"token_embd.weight": matrix(vocabulary, WIDTH) * 4, "output_norm.weight": np.ones(WIDTH)}
    tensors["output.weight"] = matrix(vocabulary, WIDTH) * 2
    tensors["output.weight"][:silent] = 0
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"{block}{name}.weight"] = np.ones(WIDTH)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"{block}{name}.weight"] = matrix(WIDTH, WIDTH)
        for name in ("ffn_gate", "ffn_up"):
            tensors[f"{block}{name}.weight"] = matrix(INNER, WIDTH)
        tensors[f"{block}ffn_down.weight"] = matrix(WIDTH, INNER)
    return tensors


if __name__ == "__main__":
    write(sys.argv[1])
