"""The recipe of the embedded models: frozen, since their weights are in git."""

from steerwright.dag import stage
from tasks.world.autoencoder import train_autoencoder
from tasks.world.clip import train_clip
from tasks.world.denoiser import train_denoiser
from tasks.world.flux import train_flux
from tasks.world.labels import train_classifier
from tasks.world.language_model import train_language_model
from tasks.world.lpips import train_perceptual
from tasks.world.sequence_encoder import train_sequence_encoder
from tasks.world.text_encoder import train_text_encoder
from tasks.world.text_labels import train_text_labels
from tasks.world.tokenizer import train_tokenizer

tokenizer = stage("world-tokenizer", train_tokenizer, frozen=True, outs={"tokenizer": "models/seasons-tokenizer"})
autoencoder = stage("world-autoencoder", train_autoencoder, frozen=True, outs={"vae": "models/seasons-vae"})
text_encoder = stage(
    "world-text-encoder",
    train_text_encoder,
    frozen=True,
    tokenizer=tokenizer.out("tokenizer"),
    outs={"text_encoder": "models/seasons-text-encoder"},
)
denoiser = stage(
    "world-denoiser",
    train_denoiser,
    frozen=True,
    tokenizer=tokenizer.out("tokenizer"),
    vae=autoencoder.out("vae"),
    text_encoder=text_encoder.out("text_encoder"),
    outs={"pipeline": "models/seasons-sd"},
)
sequence_encoder = stage(
    "world-sequence-encoder",
    train_sequence_encoder,
    frozen=True,
    tokenizer=tokenizer.out("tokenizer"),
    outs={"sequence_encoder": "models/seasons-sequence-encoder"},
)
flux = stage(
    "world-flux",
    train_flux,
    frozen=True,
    tokenizer=tokenizer.out("tokenizer"),
    vae=autoencoder.out("vae"),
    text_encoder=text_encoder.out("text_encoder"),
    sequence_encoder=sequence_encoder.out("sequence_encoder"),
    outs={"pipeline": "models/seasons-flux"},
)
clip = stage(
    "world-clip", train_clip, frozen=True, tokenizer=tokenizer.out("tokenizer"), outs={"clip": "models/seasons-clip"}
)
classifier = stage("world-labels", train_classifier, frozen=True, outs={"labels": "models/seasons-labels"})
perceptual = stage("world-lpips", train_perceptual, frozen=True, outs={"backbone": "models/seasons-lpips"})
language_model = stage(
    "world-language-model", train_language_model, frozen=True, outs={"language_model": "models/seasons-lm"}
)
text_labels = stage("world-text-labels", train_text_labels, frozen=True, outs={"labels": "models/seasons-text-labels"})
