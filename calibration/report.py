"""The sensitivity table of a package, in Markdown."""

from __future__ import annotations

from runtime.image import decibels

from .result import Result


def table(result: Result) -> str:
    """What each call of the denoiser, each stage and each layer costs, the worst first."""
    sensitivity = result.sensitivity
    lines = [
        "# What int8 costs",
        "",
        "PSNR against the fp32 package with only that part in int8, same noise, on those pieces of the unseen photos",
        "where the package with all layers in int8 errs most.",
        "",
        "| sampling | denoiser in int8 at timestep | PSNR (dB) |",
        "|---|---|---|",
        *(f"| {name} | {timestep} | {decibels(error):.2f} |" for (name, timestep), error in sensitivity.calls.items()),
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
        "| sampling | photo | PSNR (dB) |",
        "|---|---|---|",
        *(
            f"| {sampling} | {one.path.name} | {decibels(error):.2f} |"
            for sampling, errors in result.errors.items()
            for one, error in zip(result.unseen, errors, strict=True)
        ),
    ]
    return "\n".join(lines) + "\n"
