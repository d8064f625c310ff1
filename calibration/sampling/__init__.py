"""Photos and a package in, the package with a sampling ``fast`` out: few calls of the denoiser, without PyTorch."""
