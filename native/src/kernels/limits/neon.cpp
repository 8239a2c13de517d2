// The limits of NEON: xor, count, add for 128 binary products; one fused multiply-add for 4 real ones; a
// multiplication of bytes and an addition of pairs for 8 of int8.
#include <arm_neon.h>

#include "kernels/inline.h"
#include "kernels/limits/limits.h"

namespace onebit {
namespace {

#if defined(ONEBIT_FORGET)
constexpr size_t kSums = 24;

void count(size_t rounds) {
  uint8x16_t sum_u8x16[kSums], activation = vdupq_n_u8(0), weight = activation;
  ONEBIT_FORGET(weight);
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { sum_u8x16[i] = vdupq_n_u8(0); });
  for (size_t r = 0; r < rounds; ++r) {
    unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
      ONEBIT_FORGET(activation);
      sum_u8x16[i] = vaddq_u8(sum_u8x16[i], vcntq_u8(veorq_u8(activation, weight)));
    });
  }
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { ONEBIT_FORGET(sum_u8x16[i]); });
}

void multiply(size_t rounds) {
  float32x4_t sum_f32x4[kSums], a = vdupq_n_f32(1.0f), b = a;
  ONEBIT_FORGET(a);
  ONEBIT_FORGET(b);
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
    sum_f32x4[i] = vdupq_n_f32(0.0f);
    ONEBIT_FORGET(sum_f32x4[i]);  // or all sums are one
  });
  for (size_t r = 0; r < rounds; ++r) {
    unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { sum_f32x4[i] = vfmaq_f32(sum_f32x4[i], a, b); });
  }
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { ONEBIT_FORGET(sum_f32x4[i]); });
}

void multiply_bytes(size_t rounds) {
  int32x4_t sum_s32x4[kSums];
  int8x8_t a = vdup_n_s8(1), b = a;
  ONEBIT_FORGET(b);
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { sum_s32x4[i] = vdupq_n_s32(0); });
  for (size_t r = 0; r < rounds; ++r) {
    unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
      ONEBIT_FORGET(a);
      sum_s32x4[i] = vpadalq_s16(sum_s32x4[i], vmull_s8(a, b));
    });
  }
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { ONEBIT_FORGET(sum_s32x4[i]); });
}

constexpr LimitLoop kBinary{kSums * 128, count}, kFloat{kSums * 4, multiply}, kInt8{kSums * 8, multiply_bytes};
#else
constexpr LimitLoop kBinary, kFloat, kInt8;
#endif

}  // namespace

const LimitLoops limits_neon = {Isa::neon, kBinary, kFloat, kInt8};

}  // namespace onebit
