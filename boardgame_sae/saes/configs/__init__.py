"""The configs of SAEs, their training and fine-tuning: in modules without torch, since `--help` shows their fields."""
