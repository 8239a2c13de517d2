// Vectors of 64-bit ARM, shared by the kernel families: thin names for intrinsics.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/inline.h"
#include "kernels/tile.h"

namespace onebit {
namespace {

// 4 floats.
struct Vec {
  static constexpr size_t kLanes = 4;
  using Mask = uint32x4_t;
  float32x4_t x;

  ONEBIT_INLINE static Vec zero() { return {vdupq_n_f32(0.0f)}; }
  ONEBIT_INLINE static Vec broadcast(float value) { return {vdupq_n_f32(value)}; }
  ONEBIT_INLINE static Vec broadcast(const float* p) { return {vld1q_dup_f32(p)}; }
  ONEBIT_INLINE static Vec load(const float* p) { return {vld1q_f32(p)}; }
  ONEBIT_INLINE static Vec load(const Half* p) { return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))}; }
  ONEBIT_INLINE void store(float* p) const { vst1q_f32(p, x); }
  ONEBIT_INLINE void store(Half* p) const { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) { return {vaddq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec sub(Vec a, Vec b) { return {vsubq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec mul(Vec a, Vec b) { return {vmulq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec div(Vec a, Vec b) { return {vdivq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec max(Vec a, Vec b) { return {vmaxq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec min(Vec a, Vec b) { return {vminq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec multiply_add(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.x, a.x, b.x)}; }
  ONEBIT_INLINE static Mask less(Vec a, Vec b) { return vcltq_f32(a.x, b.x); }
  ONEBIT_INLINE static Mask less_equal(Vec a, Vec b) { return vcleq_f32(a.x, b.x); }
  ONEBIT_INLINE static uint32_t bits(Mask mask) {
    const uint32x4_t bit = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(mask, bit));
  }
  ONEBIT_INLINE static Vec select(Mask mask, Vec yes, Vec no) { return {vbslq_f32(mask, yes.x, no.x)}; }
};

// As many int32.
struct IntVec {
  int32x4_t x;

  ONEBIT_INLINE static IntVec broadcast(const uint8_t* p) {
    int32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return {vdupq_n_s32(word)};
  }
  ONEBIT_INLINE static IntVec load(const int32_t* p) { return {vld1q_s32(p)}; }
  ONEBIT_INLINE static IntVec load_aligned(const uint8_t* p) { return {vreinterpretq_s32_u8(vld1q_u8(p))}; }
  ONEBIT_INLINE static IntVec add(IntVec a, IntVec b) { return {vaddq_s32(a.x, b.x)}; }
  ONEBIT_INLINE static IntVec sub(IntVec a, IntVec b) { return {vsubq_s32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec to_floats(IntVec a) { return {vcvtq_f32_s32(a.x)}; }
  ONEBIT_INLINE static Vec::Mask less(IntVec a, IntVec b) { return vcltq_s32(a.x, b.x); }
};

}  // namespace
}  // namespace onebit
