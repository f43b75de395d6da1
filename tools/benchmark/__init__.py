"""What ``python main.py benchmark`` measures. Ratios within one run; the machine's noise is its own."""
