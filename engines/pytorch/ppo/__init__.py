"""Proximal policy optimization on answers that the model writes itself (Ziegler et al. 2019; Ouyang et al. 2022)."""
