"""What keeps the repository: demo scenes, checkpoints, pictures and checks; not installed."""
