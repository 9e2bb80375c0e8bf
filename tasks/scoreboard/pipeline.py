"""All steering methods in one table; `steerwright run everything` ends with it."""

from steerwright.dag import stage
from tasks.attention import pipeline as attention
from tasks.latents import pipeline as latents
from tasks.scoreboard.report import compare_methods
from tasks.winter import pipeline as winter

report = stage(
    "scoreboard-report",
    compare_methods,
    target=winter.target,
    prompts=winter.prompts.out("prompts"),
    text_encoder=winter.scores.out("images"),
    attention=attention.scores.out("images"),
    latents=latents.towards_winter.out("images"),
)
