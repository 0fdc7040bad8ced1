"""What training on a model's own answers is, apart from the library that computes it: PPO and GRPO."""
