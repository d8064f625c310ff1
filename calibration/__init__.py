"""Photos and an fp32 package in, an int8 package out: calibration on real trajectories, without PyTorch."""
