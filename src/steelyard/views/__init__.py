"""Pictures of cases: the reference beside the prediction. No torch, no statistic."""
