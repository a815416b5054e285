"""Describe nodes on machines that are rented from io.net."""
