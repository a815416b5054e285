"""Verifies products of matrices without a model: exact and bounded checks, and GEMM jobs between parties.

=======================================  ==================================================================
:func:`verify_product`                   checks that C is the product of A and B, for far less than computing
                                         it
:class:`ProductKey`                      checks products of many A with one B, which is projected once
:func:`matmul`, :func:`verify_rows`      a job between parties: a signed receipt, and rows opened on demand
:func:`job`                              keeps B for jobs with many A
=======================================  ==================================================================
"""

from __future__ import annotations

from proofcompute.jobs.claim import NOT_RECEIVED, ProductClaim, check_product_receipt
from proofcompute.jobs.commitment import MatrixId
from proofcompute.jobs.floating import FloatBound
from proofcompute.jobs.key import ProductKey
from proofcompute.jobs.messages import ProductChallenge, ProductReceipt, ProductRequest
from proofcompute.jobs.product import float_bound, verify_product
from proofcompute.jobs.proof import ProductProof
from proofcompute.jobs.proving import matmul, product_request, prove_product
from proofcompute.jobs.resident import ProductJob, job
from proofcompute.jobs.result import ProductVerified
from proofcompute.jobs.stacks import Stacks
from proofcompute.jobs.verifying import verify_rows

__all__ = [
    "NOT_RECEIVED",
    "FloatBound",
    "MatrixId",
    "ProductChallenge",
    "ProductClaim",
    "ProductJob",
    "ProductKey",
    "ProductProof",
    "ProductReceipt",
    "ProductRequest",
    "ProductVerified",
    "Stacks",
    "check_product_receipt",
    "float_bound",
    "job",
    "matmul",
    "product_request",
    "prove_product",
    "verify_product",
    "verify_rows",
]
