"""steerwright's own format, as one among the others."""

from steerwright.former_name import current
from steerwright.sae.formats.files import CheckpointFiles
from steerwright.sae.formats.fold import ImportedSae
from steerwright.sae.sae_file import CONFIG, SCHEMA, describe_sae, load_extra, load_sae


def recognises(checkpoint: CheckpointFiles) -> bool:
    return not checkpoint.is_torch and (current(checkpoint.raw(CONFIG)) or {}).get("schema_name") == SCHEMA


def read(checkpoint: CheckpointFiles) -> ImportedSae:
    sae, described = load_sae(checkpoint.folder), describe_sae(checkpoint.folder)
    provenance = described.provenance
    return ImportedSae(
        sae,
        library="steerwright" if provenance is None else provenance.library,
        version=None if provenance is None else provenance.version,
        config={} if provenance is None else provenance.config,
        facts=described.training,
        extra=load_extra(checkpoint.folder),
        lossy=described.lossy,
    )
