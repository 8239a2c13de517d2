// The epilogue for 64-bit ARM: 4 channels a vector.
#include <arm_neon.h>

#include "kernels/epilogue/epilogue.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

ONEBIT_INLINE int32x4_t signed_sum(const int32_t* depth, const int32_t* diff) {
  return vsubq_s32(vld1q_s32(depth), vshlq_n_s32(vld1q_s32(diff), 1));
}

// One bit for each lane that is all ones.
ONEBIT_INLINE uint32_t lane_bits(uint32x4_t mask) {
  const uint32x4_t bit = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(mask, bit));
}

struct Vec {
  static constexpr size_t kLanes = 4, kRegisters = 16;
  using Mask = uint32x4_t;
  float32x4_t x;

  ONEBIT_INLINE static Vec load(const float* p) { return {vld1q_f32(p)}; }
  ONEBIT_INLINE static Vec load(const Half* p) { return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))}; }
  ONEBIT_INLINE void store(float* p) const { vst1q_f32(p, x); }
  ONEBIT_INLINE void store(Half* p) const { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
  ONEBIT_INLINE static Vec broadcast(float value) { return {vdupq_n_f32(value)}; }
  ONEBIT_INLINE static Vec sum(const int32_t* depth, const int32_t* diff) {
    return {vcvtq_f32_s32(signed_sum(depth, diff))};
  }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) { return {vaddq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec mul(Vec a, Vec b) { return {vmulq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec div(Vec a, Vec b) { return {vdivq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec max(Vec a, Vec b) { return {vmaxq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec min(Vec a, Vec b) { return {vminq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Mask less(Vec a, Vec b) { return vcltq_f32(a.x, b.x); }
  ONEBIT_INLINE static Mask less_equal(Vec a, Vec b) { return vcleq_f32(a.x, b.x); }
  ONEBIT_INLINE static uint32_t bits(Mask mask) { return lane_bits(mask); }
  ONEBIT_INLINE static Vec select(Mask mask, Vec yes, Vec no) { return {vbslq_f32(mask, yes.x, no.x)}; }
};

ONEBIT_INLINE uint32_t counts_below(const int32_t* depth, const int32_t* diff, const int32_t* below) {
  return lane_bits(vcltq_s32(signed_sum(depth, diff), vld1q_s32(below)));
}

}  // namespace
}  // namespace onebit

#include "kernels/epilogue/body.h"

namespace onebit {
const EpilogueKernel epilogue_neon = {Isa::neon,     "epilogue_neon", finish_floats, finish_halves,
                                      finish_counts, finish_windows,  widen};
}  // namespace onebit
