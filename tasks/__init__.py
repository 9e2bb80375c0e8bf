"""One file per stage: files in, files out. The library holds the ideas; `pipeline.py` wires them."""
