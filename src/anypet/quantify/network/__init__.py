"""The whole-body metabolic covariance network: which organs' uptake varies together over a cohort."""
