"""The image database: nested shards, their indexes, merged neighbour lists, and the softmax store."""
