"""What people prefer: answers written for ranking, judgements on them, and the pairs that training reads."""
