"""Measures the CUDA backend on a device: ``make gpu-bench``, or ``python -m benchmarks.gpu --help``.

Every measured call is compared with another route to the same bytes before it is timed. Nothing is asserted
about time; a file of measurements states the device, its clocks and the versions of software.
"""
