"""The llama.cpp engine: GGUF export with its check, and models for chat.

Importing it loads neither gguf nor llama_cpp: they may be missing, or appear while a run is under way.
"""

from engines.llamacpp.engine import LlamaCppEngine

__all__ = ["LlamaCppEngine"]
