"""Text in, tokens out: sources, cleaning, duplicates, tokenizer training, shards and packing."""
