"""How it happens: plans, the queue, supervisors and engine processes."""
