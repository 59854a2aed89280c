"""The APIs of other products, one package each: their JSON to our words and back, and nothing else."""
