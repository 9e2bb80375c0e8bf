"""One file per stage: files in, files out. The library holds the ideas; `tasks/pipelines` says how stages are wired."""
