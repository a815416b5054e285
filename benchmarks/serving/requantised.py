"""Writes a GGUF file again in Q8_0, by llama.cpp: `python requantised.py SOURCE TARGET`.

It needs the package llama-cpp-python and nothing of this project, so that an interpreter of another
environment can run it.
"""

import sys

import llama_cpp


def main(source: str, target: str) -> None:
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    parameters.allow_requantize = True
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), parameters):
        sys.exit("llama.cpp could not re-quantise the model to Q8_0")


if __name__ == "__main__":
    main(*sys.argv[1:])
