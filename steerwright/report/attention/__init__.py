"""The report of attention edits: one page for adding, erasing and replacing concepts inside the denoiser."""
