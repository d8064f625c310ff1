"""The paper's training, and fine-tuning to few calls: photos -> a checkpoint in the authors' layout. Needs PyTorch."""
