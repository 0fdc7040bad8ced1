"""MLX: training, generating and scoring on Apple silicon, and (slowly) on any CPU."""

from engines.mlx.engine import MlxEngine

__all__ = ["MlxEngine"]
