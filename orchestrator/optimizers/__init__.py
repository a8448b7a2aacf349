"""Optimizers as (init, update) pairs with explicit state, put together from parts; learning-rate schedules."""
