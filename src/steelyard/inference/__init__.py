"""Use: a scan and a trained model in; organs, volumes and pictures out."""
