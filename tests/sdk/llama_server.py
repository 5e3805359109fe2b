"""Owns one real llama.cpp server process on the test model. Knows nothing of Ember.

    LLAMA_MODEL=FILE [LLAMA_ALIAS=NAME] [LLAMA_HOST=127.0.0.1] [LLAMA_PORT=0] [LLAMA_API_KEY_FILE=FILE] python llama_server.py

Prints `ready http://HOST:PORT` once it listens (port 0: a free one) and serves until it is killed or its
stdin is closed, so that it does not outlive the tests that started it.
"""

import os
import sys

import xllamacpp


def serve(environment: dict[str, str]) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = environment["LLAMA_MODEL"]
    params.model_alias = {environment.get("LLAMA_ALIAS", "ember/test")}
    params.hostnames = [environment.get("LLAMA_HOST", "127.0.0.1")]
    params.port = int(environment.get("LLAMA_PORT", "0"))
    if key_file := environment.get("LLAMA_API_KEY_FILE"):
        with open(key_file, encoding="ascii") as lines:
            params.api_keys = [lines.read().strip()]
    params.n_parallel = 4
    params.n_ctx = 4 * (1 << 15)
    params.n_batch = params.n_ubatch = 64
    params.cpuparams.n_threads = 1
    params.cpuparams.poll = 0
    params.cache_ram_mib = 0
    params.cache_prompt = False
    params.n_gpu_layers = 0
    params.fit_params = False
    params.ui = False
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.endpoint_metrics = True
    params.sampling.seed = 7411
    server = xllamacpp.Server(params)
    print(f"ready {server.listening_address}", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(dict(os.environ))
