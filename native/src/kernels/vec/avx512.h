// Vectors of AVX-512 F, BW, VL and DQ, shared by the kernel families: thin names for intrinsics.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/avx512.h"
#include "kernels/inline.h"
#include "kernels/tile.h"

namespace onebit {
namespace {

// 16 floats.
struct Vec {
  static constexpr size_t kLanes = 16;
  using Mask = __mmask16;
  __m512 x;

  ONEBIT_INLINE static Vec zero() { return {_mm512_setzero_ps()}; }
  ONEBIT_INLINE static Vec broadcast(float value) { return {_mm512_set1_ps(value)}; }
  ONEBIT_INLINE static Vec broadcast(const float* p) { return {_mm512_set1_ps(*p)}; }
  ONEBIT_INLINE static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  ONEBIT_INLINE static Vec load(const Half* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  ONEBIT_INLINE void store(float* p) const { _mm512_storeu_ps(p, x); }
  ONEBIT_INLINE void store(Half* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec sub(Vec a, Vec b) { return {_mm512_sub_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec mul(Vec a, Vec b) { return {_mm512_mul_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec div(Vec a, Vec b) { return {_mm512_div_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec multiply_add(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.x, b.x, c.x)}; }
  ONEBIT_INLINE static Mask less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.x, b.x, _CMP_LT_OQ); }
  ONEBIT_INLINE static Mask less_equal(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.x, b.x, _CMP_LE_OQ); }
  ONEBIT_INLINE static uint32_t bits(Mask mask) { return mask; }
  ONEBIT_INLINE static Vec select(Mask mask, Vec yes, Vec no) { return {_mm512_mask_blend_ps(mask, no.x, yes.x)}; }
};

// As many int32.
struct IntVec {
  __m512i x;

  ONEBIT_INLINE static IntVec broadcast(const uint8_t* p) {
    int32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return {_mm512_set1_epi32(word)};
  }
  ONEBIT_INLINE static IntVec load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
  ONEBIT_INLINE static IntVec load_aligned(const uint8_t* p) { return {_mm512_load_si512(p)}; }
  ONEBIT_INLINE void store(int32_t* p) const { _mm512_storeu_si512(p, x); }
  ONEBIT_INLINE static IntVec add(IntVec a, IntVec b) { return {_mm512_add_epi32(a.x, b.x)}; }
  ONEBIT_INLINE static IntVec sub(IntVec a, IntVec b) { return {_mm512_sub_epi32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec to_floats(IntVec a) { return {_mm512_cvtepi32_ps(a.x)}; }
  ONEBIT_INLINE static Vec::Mask less(IntVec a, IntVec b) { return _mm512_cmplt_epi32_mask(a.x, b.x); }
};

// 64 bytes, or 32 numbers of 16 bits.
struct ByteVec {
  static constexpr size_t kBytes = 64;
  __m512i x;

  ONEBIT_INLINE static ByteVec zero() { return {_mm512_setzero_si512()}; }
  ONEBIT_INLINE static ByteVec bytes(int8_t value) { return {_mm512_set1_epi8(value)}; }
  ONEBIT_INLINE static ByteVec shorts(int16_t value) { return {_mm512_set1_epi16(value)}; }
  ONEBIT_INLINE static ByteVec load_aligned(const uint8_t* p) { return {_mm512_load_si512(p)}; }
  // 16 bytes, in every 128 bits.
  ONEBIT_INLINE static ByteVec broadcast16(const uint8_t* p) {
    return {_mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  // In every 128 bits: the bytes of `table` that the bytes of `index` number.
  ONEBIT_INLINE static ByteVec shuffle(ByteVec table, ByteVec index) { return {_mm512_shuffle_epi8(table.x, index.x)}; }
  ONEBIT_INLINE static ByteVec add8(ByteVec a, ByteVec b) { return {_mm512_add_epi8(a.x, b.x)}; }
  ONEBIT_INLINE static ByteVec add16(ByteVec a, ByteVec b) { return {_mm512_add_epi16(a.x, b.x)}; }
  ONEBIT_INLINE static ByteVec sub16(ByteVec a, ByteVec b) { return {_mm512_sub_epi16(a.x, b.x)}; }
  ONEBIT_INLINE static ByteVec bit_and(ByteVec a, ByteVec b) { return {_mm512_and_si512(a.x, b.x)}; }
  template <int count>
  ONEBIT_INLINE static ByteVec shift_right16(ByteVec a) {
    return {_mm512_srli_epi16(a.x, count)};
  }
  ONEBIT_INLINE static ByteVec keep(ByteVec a) {
    ONEBIT_KEEP_IN_REGISTER(a.x);
    return a;
  }
  // The first or the last of its numbers of 16 bits, none negative, as int32.
  ONEBIT_INLINE static IntVec widen_first(ByteVec a) { return {_mm512_cvtepu16_epi32(_mm512_castsi512_si256(a.x))}; }
  ONEBIT_INLINE static IntVec widen_last(ByteVec a) {
    return {_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(a.x, 1))};
  }
};

}  // namespace
}  // namespace onebit
