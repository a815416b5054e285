// sample_*: choose the next token with integer sums (docs/spec/programs.md#sampler; definition: sampler.py in
// proofcompute/arithmetic/definition).
//
//   logits, x [v] float32, 1 <= v <= 2^20      seen [v, up to a multiple of 4] bytes, zero at the start
//   keys, weights [v] uint64                   best one uint64, zero at the start
//   history int32 token ids, of which the first *at + count are used; at is one int64, or null for 0
//   draw two uint64, the low half first        token one int32, the result       status one int32
//
// sample_seen      seen[id] = 1 for each id of history; status |= 2 if one is not below v.     Grid-stride.
// sample_penalise  x = logits; those that were seen are divided by the penalty if > 0, else multiplied; status
//                  |= 1 if a logit is not finite before or after. keys: see below; best = the largest key.
//                  Grid-stride.
// sample_best      token = the one of best. One block.
// sample_weigh     weights = rint(exp((x - max) / temperature) * 2^30), max being the logit of best. Grid-stride.
// sample_draw      token = the one drawn; top_p = numerator / 2^exponent exactly.
//                  One block; 2136 bytes of shared memory. If status is set, token = 0: the weights of logits
//                  that are not finite mean nothing, and their sum may reach no target.
//
// Launch: THREADS threads in a block; one-dimensional grids. No alignment. Must hold: top_p and the total of
// the weights as in the definition (the total is at least 1 and at most 2^50).
//
// A key is (ordered bits of x + 0) << 32 | (2^32 - 1 - index): descending keys are the canonical order, by
// logit descending (-0 equal to +0), then by index, and no two are equal. Top-k, top-p and the draw are each
// "the largest key for which the sum over keys not below it reaches a target", which is found digit by digit
// from the top with a histogram of 256 sums, without sorting.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    sample_seen(const int* __restrict__ history, const i64* __restrict__ at, i64 count, i64 v,
                u8* __restrict__ seen, int* __restrict__ status) {
  const i64 t = count + (at ? *at : 0);
  for (i64 e = first_index(); e < t; e += index_step()) {
    const i64 id = history[e];
    if (id >= 0 && id < v)
      atomicOr((u32*)seen + id / 4, 1u << (id % 4 * 8));
    else
      atomicOr(status, 2);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sample_penalise(const float* __restrict__ logits, const u8* __restrict__ seen, i64 v, float penalty,
                    float* __restrict__ x, u64* __restrict__ keys, u64* __restrict__ best,
                    int* __restrict__ status) {
  for (i64 e = first_index(); e < v; e += index_step()) {
    float y = logits[e];
    if (!is_finite(y)) atomicOr(status, 1);
    if (seen[e] && penalty != 1.0f) y = y > 0.0f ? over(y, penalty) : times(y, penalty);
    if (!is_finite(y)) atomicOr(status, 1);
    x[e] = y;
    keys[e] = (u64)ordered_bits(plus(y, 0.0f)) << 32 | (0xffffffffu - (u32)e);
    atomicMax(best, keys[e]);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sample_best(const u64* __restrict__ best, int* __restrict__ token) {
  if (threadIdx.x == 0) *token = (int)(0xffffffffu - (u32)*best);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sample_weigh(const float* __restrict__ x, const u64* __restrict__ best, i64 v, float temperature,
                 u64* __restrict__ weights) {
  const float top = from_ordered_bits((u32)(*best >> 32));
  for (i64 e = first_index(); e < v; e += index_step()) {
    const float z = over(minus(x[e], top), temperature);
    weights[e] = (u64)__float2ll_rn(times(canonical_exp(z), 1073741824.0f));
  }
}

struct Found {
  u64 key;   // the largest key for which the sum over keys >= key reaches the target
  u64 sum;   // that sum
};

// Finds it among keys >= floor. The target is at least 1 and at most the sum over these keys. A term is a weight,
// or 1.
__device__ Found reach(const u64* keys, const u64* weights, i64 v, u64 floor, u64 target) {
  __shared__ u64 bins[256];
  __shared__ u64 digit, before, bin;
  u64 prefix = 0, above = 0;
  for (int shift = 56; shift >= 0; shift -= 8) {
    __syncthreads();  // all threads have read the digit before
    for (int i = threadIdx.x; i < 256; i += THREADS) bins[i] = 0;
    __syncthreads();
    for (i64 e = threadIdx.x; e < v; e += THREADS) {
      const u64 key = keys[e];
      const bool same = shift == 56 || key >> (shift + 8) == prefix;
      if (same && key >= floor) atomicAdd(&bins[key >> shift & 255], weights ? weights[e] : 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      u64 sum = above;
      int i = 255;
      while (sum + bins[i] < target) sum += bins[i--];
      digit = (u64)i;
      before = sum;
      bin = bins[i];
    }
    __syncthreads();
    prefix = prefix << 8 | digit;
    above = before;
  }
  return {prefix, above + bin};
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sample_draw(const u64* __restrict__ keys, const u64* __restrict__ weights, i64 v, i64 top_k, u64 numerator,
                int exponent, const u64* __restrict__ draw, const int* __restrict__ status,
                int* __restrict__ token) {
  if (*status) {  // the whole block
    if (threadIdx.x == 0) *token = 0;
    return;
  }
  u64 floor = 0;
  if (top_k > 0 && top_k < v) floor = reach(keys, 0, v, 0, (u64)top_k).key;
  u64 part = 0;
  for (i64 e = threadIdx.x; e < v; e += THREADS)
    if (keys[e] >= floor) part += weights[e];
  u64 mass = block_sum(part);  // at most 2^50
  // ceil(numerator * mass / 2^exponent): the product, below 2^75, in two words.
  const u64 high = __umul64hi(numerator, mass), low = numerator * mass;
  u64 least = high != 0 || low != 0;  // the quotient may be below 1
  if (exponent == 0)
    least = low;
  else if (exponent < 64)
    least = (high << (64 - exponent) | low >> exponent) + (low << (64 - exponent) != 0);
  else if (exponent < 75 && exponent > 64)
    least = (high >> (exponent - 64)) + ((high << (128 - exponent) | low) != 0);
  else if (exponent == 64)
    least = high + (low != 0);
  if (least < mass) mass = reach(keys, weights, v, floor, least).sum;
  // (draw * mass) >> 128
  const u64 lower = __umul64hi(draw[0], mass);
  const u64 middle = draw[1] * mass;
  const u64 r = __umul64hi(draw[1], mass) + (middle + lower < middle ? 1 : 0);
  const u64 key = reach(keys, weights, v, floor, r + 1).key;
  if (threadIdx.x == 0) *token = (int)(0xffffffffu - (u32)key);
}
