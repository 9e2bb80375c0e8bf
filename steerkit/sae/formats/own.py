"""steerkit's own format, as one among the others."""

from steerkit.sae.formats.files import Checkpoint
from steerkit.sae.formats.fold import ImportedSae
from steerkit.sae.sae_file import CONFIG, SCHEMA, describe_sae, load_extra, load_sae


def recognises(checkpoint: Checkpoint) -> bool:
    return not checkpoint.is_torch and (checkpoint.raw(CONFIG) or {}).get("schema_name") == SCHEMA


def read(checkpoint: Checkpoint) -> ImportedSae:
    sae, described = load_sae(checkpoint.folder), describe_sae(checkpoint.folder)
    provenance = described.provenance
    return ImportedSae(
        sae,
        library="steerkit" if provenance is None else provenance.library,
        version=None if provenance is None else provenance.version,
        config={} if provenance is None else provenance.config,
        facts=described.training,
        extra=load_extra(checkpoint.folder),
        lossy=described.lossy,
    )
