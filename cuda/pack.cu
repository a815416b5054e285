// pack, unpack: integers of 1 to 32 bits, two's complement, least significant bit first
// (proofcompute/arithmetic/definition/bitpack.py).
//
//   values [count] int32      data [size] bytes, size = ceil(count * bits / 8)
//   status one int32; set to 1 if a value does not fit, else left alone
//
// pack: one thread for each byte of data; padding is zero. unpack: one thread for each value.
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    pack(const int* __restrict__ values, i64 count, int bits, i64 size, u8* __restrict__ data,
         int* __restrict__ status) {
  const i64 bound = 1ll << (bits - 1);
  for (i64 e = first_index(); e < size; e += index_step()) {
    u32 byte = 0;
    // The values that share a bit with this byte.
    for (i64 i = 8 * e / bits; i < count && i * bits < 8 * e + 8; ++i) {
      const i64 value = values[i];
      if (value < -bound || value >= bound) atomicOr(status, 1);
      const u64 field = (u64)value & (((u64)bound << 1) - 1);
      const i64 up = i * bits - 8 * e;
      byte |= (u32)(up >= 0 ? field << up : field >> -up);
    }
    data[e] = (u8)byte;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    unpack(const u8* __restrict__ data, i64 count, int bits, int* __restrict__ values) {
  for (i64 i = first_index(); i < count; i += index_step()) {
    const i64 start = i * bits, end = start + bits;
    u64 field = 0;
    for (i64 e = start / 8; 8 * e < end; ++e) field |= (u64)data[e] << (8 * (e - start / 8));
    field = field >> (start % 8) << (64 - bits);
    values[i] = (int)((i64)field >> (64 - bits));
  }
}
