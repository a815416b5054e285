"""Define the functions of Numba's runtime that compiled kernels call, in LLVM IR, so that no Numba is needed.

A kernel's scratch arrays live in memory behind a header whose layout Numba's generated code knows
(``MemInfo``: references, destructor, its argument, address, size). A block here is the header and the bytes,
from ``malloc``, and is freed when nothing refers to it any more; nothing here has a destructor. Only
contiguous arrays can be reshaped, which gives the strides of a contiguous array.

References are counted without atomic operations, of which Numba's own functions make two for every row that a
loop reads: a block is made, used and freed in one call of a kernel, by one thread. Arrays that Python passes
have no block.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RUNTIME"]

RUNTIME: Final = r"""
%block = type { i64, ptr, ptr, ptr, i64 }

declare noalias ptr @malloc(i64)
declare void @free(ptr)

define noalias ptr @NRT_Allocate(i64 %size) {
  %p = call ptr @malloc(i64 %size)
  ret ptr %p
}

define void @NRT_Free(ptr %p) {
  call void @free(ptr %p)
  ret void
}

define noalias ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {
entry:
  %a = zext i32 %align to i64
  %head = add i64 %a, 64
  %all = add i64 %head, %size
  %over = icmp ult i64 %all, %size
  br i1 %over, label %none, label %get
get:
  %p = call ptr @malloc(i64 %all)
  %null = icmp eq ptr %p, null
  br i1 %null, label %none, label %fill
fill:
  %start = ptrtoint ptr %p to i64
  %first = add i64 %start, %head
  %rest = urem i64 %first, %a
  %data = sub i64 %first, %rest
  %at = inttoptr i64 %data to ptr
  %0 = getelementptr inbounds %block, ptr %p, i32 0, i32 0
  store i64 1, ptr %0
  %1 = getelementptr inbounds %block, ptr %p, i32 0, i32 1
  store ptr null, ptr %1
  %2 = getelementptr inbounds %block, ptr %p, i32 0, i32 2
  store ptr null, ptr %2
  %3 = getelementptr inbounds %block, ptr %p, i32 0, i32 3
  store ptr %at, ptr %3
  %4 = getelementptr inbounds %block, ptr %p, i32 0, i32 4
  store i64 %size, ptr %4
  ret ptr %p
none:
  ret ptr null
}

define noalias ptr @NRT_MemInfo_alloc(i64 %size) {
  %p = call ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 16)
  ret ptr %p
}

define void @NRT_MemInfo_call_dtor(ptr %p) {
  call void @free(ptr %p)
  ret void
}

define void @NRT_incref(ptr %p) alwaysinline {
  %none = icmp eq ptr %p, null
  br i1 %none, label %end, label %count
count:
  %n = load i64, ptr %p
  %more = add i64 %n, 1
  store i64 %more, ptr %p
  br label %end
end:
  ret void
}

define void @NRT_decref(ptr %p) alwaysinline {
  %none = icmp eq ptr %p, null
  br i1 %none, label %end, label %count
count:
  %n = load i64, ptr %p
  %less = sub i64 %n, 1
  store i64 %less, ptr %p
  %last = icmp eq i64 %less, 0
  br i1 %last, label %drop, label %end
drop:
  call void @free(ptr %p)
  ret void
end:
  ret void
}

define i32 @numba_attempt_nocopy_reshape(i64 %nd, ptr %dims, ptr %strides, i64 %newnd, ptr %newdims,
                                         ptr %newstrides, i64 %itemsize, i32 %fortran) {
entry:
  %other = icmp ne i32 %fortran, 0
  br i1 %other, label %no, label %loop
loop:
  %i = phi i64 [ %newnd, %entry ], [ %j, %step ]
  %stride = phi i64 [ %itemsize, %entry ], [ %next, %step ]
  %more = icmp sgt i64 %i, 0
  br i1 %more, label %step, label %yes
step:
  %j = sub i64 %i, 1
  %to = getelementptr i64, ptr %newstrides, i64 %j
  store i64 %stride, ptr %to
  %from = getelementptr i64, ptr %newdims, i64 %j
  %n = load i64, ptr %from
  %next = mul i64 %stride, %n
  br label %loop
yes:
  ret i32 1
no:
  ret i32 0
}
"""
