// One int8 tensor-core product of a warp: c (16 x 8, int32) += a (16 x 32, int8) b (32 x 8, int8).
//
// The fragments are those of PTX ISA, "Matrix Fragments for mma.m16n8k32" of .s8. With group = lane / 4 and
// place = lane % 4: a[0] holds row group, columns 4 place .. 4 place + 3; a[1] row group + 8; a[2] and a[3]
// the same 16 columns on. b[0] holds rows 4 place .. 4 place + 3 of column group; b[1] 16 rows on. c[0], c[1]
// are row group, columns 2 place and 2 place + 1; c[2], c[3] row group + 8. All lanes take part. Needs sm_80.
#pragma once

#ifdef __CUDACC__
__device__ __forceinline__ void mma_16x8x32(int (&c)[4], const int (&a)[4], const int (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif
