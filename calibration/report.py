"""The sensitivity table of a package, in Markdown."""

from __future__ import annotations

from runtime.image import decibels

from .result import Result


def table(result: Result) -> str:
    """What each step of the loop, each stage and each layer costs, the worst first."""
    sensitivity = result.sensitivity
    lines = [
        "# What int8 costs",
        "",
        "PSNR against the fp32 package with only that part in int8, same noise, on those pieces of the unseen photos",
        "where the package with all layers in int8 errs most.",
        "",
        "| denoiser in int8 at timestep | PSNR (dB) |",
        "|---|---|",
        *(f"| {timestep} | {decibels(error):.2f} |" for timestep, error in sensitivity.timesteps.items()),
        "",
        "| stage with all its layers in int8 | PSNR (dB) |",
        "|---|---|",
        *(f"| {stage} | {decibels(error):.2f} |" for stage, error in sensitivity.stages.items()),
        "",
        "| stage | layer | PSNR (dB) | in this package |",
        "|---|---|---|---|",
    ]
    for key, error in sorted(sensitivity.layers.items(), key=lambda item: (-item[1], item[0])):
        stage, name = key
        kept = "float" if key in result.float_layers else "int8"
        lines.append(f"| {stage} | {name} | {decibels(error):.2f} | {kept} |")
    lines += [
        "",
        f"Photos not used for calibration, the whole package (at least {result.budget_db:g} dB wanted):",
        "",
        "| photo | PSNR (dB) |",
        "|---|---|",
        *(
            f"| {one.path.name} | {decibels(error):.2f} |"
            for one, error in zip(result.unseen, result.errors, strict=True)
        ),
    ]
    return "\n".join(lines) + "\n"
