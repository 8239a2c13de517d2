// The limit of NEON with SDOT: one instruction for 16 products of int8.
#include <arm_neon.h>

#include "kernels/inline.h"
#include "kernels/limits/limits.h"

namespace onebit {
namespace {

#if defined(ONEBIT_FORGET)
constexpr size_t kSums = 24;

void multiply(size_t rounds) {
  int32x4_t sum_s32x4[kSums];
  int8x16_t a = vdupq_n_s8(1), b = a;
  ONEBIT_FORGET(a);
  ONEBIT_FORGET(b);
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
    sum_s32x4[i] = vdupq_n_s32(0);
    ONEBIT_FORGET(sum_s32x4[i]);  // or all sums are one
  });
  for (size_t r = 0; r < rounds; ++r) {
    unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { sum_s32x4[i] = vdotq_s32(sum_s32x4[i], a, b); });
  }
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { ONEBIT_FORGET(sum_s32x4[i]); });
}

constexpr LimitLoop kInt8{kSums * 16, multiply, Feature::dot_product};
#else
constexpr LimitLoop kInt8;
#endif

}  // namespace

const LimitLoops limits_neon_dot = {Isa::neon, {}, {}, kInt8};

}  // namespace onebit
