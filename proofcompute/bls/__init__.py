"""Sign and verify with BLS12-381: points, the two libraries behind them, and aggregated signatures
(docs/spec/verdicts.md#signatures).
"""
