"""The model that all pipelines steer."""

from steerwright.dag import File, stage
from tasks.shared.fingerprint import fingerprint_model

fingerprint = stage("model-fingerprint", fingerprint_model, embedded=File("models/seasons-sd"))
