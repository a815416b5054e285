"""Matrix workloads without a model: exact and bounded checks of products, GEMM jobs, programs by hand.

=======================================  ==================================================================
:func:`verify_product`                   is this C the product of A and B? For far less than computing it
:class:`ProductKey`                      the same for many A and one secret projection of B
:func:`matmul`, :func:`verify_rows`      between parties: a signed receipt, and rows opened on demand
:class:`ProgramBuilder`                  a small program, operation by operation, to prove and audit
=======================================  ==================================================================
"""

from __future__ import annotations

from proofcompute.workloads.builder import ProgramBuilder, Tensor
from proofcompute.workloads.claim import NOT_RECEIVED, ProductClaim, check_product_receipt
from proofcompute.workloads.commitment import MatrixId
from proofcompute.workloads.floating import FloatBound
from proofcompute.workloads.job import matmul, product_request, prove_product
from proofcompute.workloads.key import ProductKey
from proofcompute.workloads.messages import ProductChallenge, ProductReceipt, ProductRequest
from proofcompute.workloads.product import float_bound, verify_product
from proofcompute.workloads.proof import ProductProof
from proofcompute.workloads.result import ProductVerified
from proofcompute.workloads.verifying import verify_rows

__all__ = [
    "NOT_RECEIVED",
    "FloatBound",
    "MatrixId",
    "ProductChallenge",
    "ProductClaim",
    "ProductKey",
    "ProductProof",
    "ProductReceipt",
    "ProductRequest",
    "ProductVerified",
    "ProgramBuilder",
    "Tensor",
    "check_product_receipt",
    "float_bound",
    "matmul",
    "product_request",
    "prove_product",
    "verify_product",
    "verify_rows",
]
