"""DVC: dvc.yaml, dvc.lock, the cache and its repair."""
