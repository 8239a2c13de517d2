// The epilogue for AVX-512: 16 channels a vector, comparisons give the bits directly.
#include "kernels/avx512.h"

#include "kernels/epilogue/epilogue.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

ONEBIT_INLINE __m512i signed_sum(const int32_t* depth, const int32_t* diff) {
  const __m512i d = _mm512_loadu_si512(diff);
  return _mm512_sub_epi32(_mm512_loadu_si512(depth), _mm512_add_epi32(d, d));
}

struct Vec {
  static constexpr size_t kLanes = 16, kRegisters = 12;
  using Mask = __mmask16;
  __m512 x;

  ONEBIT_INLINE static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  ONEBIT_INLINE static Vec load(const Half* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  ONEBIT_INLINE void store(float* p) const { _mm512_storeu_ps(p, x); }
  ONEBIT_INLINE void store(Half* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  ONEBIT_INLINE static Vec broadcast(float value) { return {_mm512_set1_ps(value)}; }
  ONEBIT_INLINE static Vec sum(const int32_t* depth, const int32_t* diff) {
    return {_mm512_cvtepi32_ps(signed_sum(depth, diff))};
  }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec mul(Vec a, Vec b) { return {_mm512_mul_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec div(Vec a, Vec b) { return {_mm512_div_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Mask less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.x, b.x, _CMP_LT_OQ); }
  ONEBIT_INLINE static Mask less_equal(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.x, b.x, _CMP_LE_OQ); }
  ONEBIT_INLINE static uint32_t bits(Mask mask) { return mask; }
  ONEBIT_INLINE static Vec select(Mask mask, Vec yes, Vec no) { return {_mm512_mask_blend_ps(mask, no.x, yes.x)}; }
};

ONEBIT_INLINE uint32_t counts_below(const int32_t* depth, const int32_t* diff, const int32_t* below) {
  return _mm512_cmplt_epi32_mask(signed_sum(depth, diff), _mm512_loadu_si512(below));
}

}  // namespace
}  // namespace onebit

#include "kernels/epilogue/body.h"

namespace onebit {
const EpilogueKernel epilogue_avx512 = {Isa::avx512bw, "epilogue_avx512", finish_floats, finish_halves,
                                        finish_counts, finish_windows,    widen};
}  // namespace onebit
