"""PyTorch: pretraining, generating and scoring, on CUDA or the CPU, in one process or under torchrun."""

from engines.pytorch.engine import PyTorchEngine

__all__ = ["PyTorchEngine"]
