"""The activation store: Arrow shards beside a manifest, written as a stream, read by memory map and shuffled."""
