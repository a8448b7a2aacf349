"""Money: what circuits cost, what a run will cost, and an account that cannot be overdrawn. Pure: no service, no clock, no file but
the catalogue of prices. Amounts are whole micro-dollars (1e-6 USD), so that sums are exact; dollars as floats only at the border.
"""
