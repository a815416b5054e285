"""Name the optional packages that verifying does not need, and say how to install them."""

from __future__ import annotations

from typing import Final

from proofcompute.errors import UnsupportedError

__all__ = ["EXTRA_OF", "install", "lacking"]

EXTRA_OF: Final = {
    "aiohttp": "gateway",
    "alembic": "ledger",
    "bittensor": "bittensor10",
    "bittensor_core": "bittensor",
    "cryptography": "clouds",
    "dag_cbor": "filecoin",
    "dcap_qvl": "clouds",
    "eth_abi": "evm",
    "eth_keys": "evm",
    "fastapi": "serve",
    "fsspec": "ray",
    "gguf": "models",
    "granian": "serve",
    "httpx": "client",
    "httpx2": "client",
    "jinja2": "models",
    "jsonschema": "akash",
    "matplotlib": "plot",
    "multiformats": "filecoin",
    "numba": "jit",
    "onnx": "onnx",
    "pillow": "images",
    "prometheus_client": "serve",
    "psycopg": "ledger",
    "py_arkworks_bls12381": "verdicts-fast",
    "py_ecc": "verdicts",
    "pydantic": "gateway",
    "pyjwt": "clouds",
    "pyyaml": "akash",
    "rfc8785": "aci",
    "solders": "solana",
    "sqlalchemy": "ledger",
    "ray": "ray",
    "s3fs": "s3",
    "structlog": "serve",
    "tokenizers": "models",
    "torch": "torch",
    "transformers": "quality",
}
"""The extra that installs each package."""
_MODULES: Final = {"PIL": "pillow", "jwt": "pyjwt", "yaml": "pyyaml"}
"""Packages by the module that they install, where that has another name."""


def install(package: str, extra: str | None = None) -> str:
    """Return the command that installs a package, by its extra or another that has it too."""
    return f"pip install 'proofcompute[{extra or EXTRA_OF[package]}]'"


def lacking(error: ModuleNotFoundError, what: str, extra: str | None = None) -> Exception:
    """Return the error to raise when an import failed: an UnsupportedError that says what to install.

    ``what`` names the feature that needs the package, ``extra`` the feature's own extra if it has one. An
    error that names no optional package is returned unchanged.
    """
    module = (error.name or "").partition(".")[0]
    package = _MODULES.get(module, module)
    if package not in EXTRA_OF:
        return error
    return UnsupportedError(f"{what} takes {package}, which is not installed: {install(package, extra)}")
