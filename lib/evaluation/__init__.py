"""Evaluation of a model: metrics, reports, FROC curves, ablation and composed test scans."""
