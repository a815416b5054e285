// A message to hash: a prefix shared by all rows, then the bytes of one row.
#pragma once

struct Message {
  const u8* prefix;
  i64 prefix_size;
  const u8* row;
  i64 size;  // of both

  // Byte i; 0 beyond the end.
  __device__ __forceinline__ u32 at(i64 i) const {
    if (i >= size) return 0;
    return i < prefix_size ? prefix[i] : row[i - prefix_size];
  }
  __device__ __forceinline__ u32 little32(i64 i) const {
    return at(i) | at(i + 1) << 8 | at(i + 2) << 16 | at(i + 3) << 24;
  }
};
