"""What a configuration asks for: query sets, shards, models and files. Functions of the configuration, without I/O."""
