"""Video: frames from the user's own ffmpeg, a camera or a pipe, through the engine, and into a file with its sound."""
