// The AVX-512 intrinsics that kernels use, in plain C++, for tests on CPUs without them. Each follows the operation in
// Intel's Intrinsics Guide, lane by lane.
#pragma once

#include <emmintrin.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

struct alignas(64) __m512i {
  int32_t lane[16];
};
struct alignas(32) __m256i {
  int32_t lane[8];
};
struct alignas(64) __m512 {
  float lane[16];
};
using __mmask16 = uint16_t;
enum { _CMP_LT_OQ = 0x11, _CMP_LE_OQ = 0x12, _MM_FROUND_TO_NEAREST_INT = 0 };

namespace emulated {

template <class Vector, class Function>
Vector each(Function f) {
  Vector out;
  for (int i = 0; i < 16; ++i) out.lane[i] = f(i);
  return out;
}

template <class Function>
__mmask16 mask(Function f) {
  unsigned bits = 0;
  for (int i = 0; i < 16; ++i) bits |= (f(i) ? 1u : 0u) << i;
  return static_cast<__mmask16>(bits);
}

template <class Vector>
Vector load(const void* from) {
  Vector out;
  std::memcpy(&out, from, sizeof out);
  return out;
}

// The same for lanes of 8 and 16 bits.
template <class Lane, class Function>
__m512i each_of(Function f) {
  __m512i out;
  for (size_t i = 0; i < sizeof out / sizeof(Lane); ++i) {
    const auto lane = static_cast<Lane>(f(i));
    std::memcpy(reinterpret_cast<uint8_t*>(&out) + i * sizeof lane, &lane, sizeof lane);
  }
  return out;
}

template <class Lane, class Vector>
Lane lane_of(const Vector& vector, size_t i) {
  Lane lane;
  std::memcpy(&lane, reinterpret_cast<const uint8_t*>(&vector) + i * sizeof lane, sizeof lane);
  return lane;
}

inline float float_of_half(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double size = exponent == 31  ? (fraction ? NAN : HUGE_VAL)
                      : exponent == 0 ? std::ldexp(fraction, -24)
                                      : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>(half & 0x8000 ? -size : size);
}

// In double, which represents every float and half exactly: x in units of the last bit of its half, rounded to even.
inline uint16_t nearest_half(float x) {
  const unsigned sign = std::signbit(x) ? 0x8000 : 0;
  if (x == 0) return static_cast<uint16_t>(sign);
  if (std::isnan(x)) return static_cast<uint16_t>(sign | 0x7E00);
  if (std::fabs(x) >= 65520) return static_cast<uint16_t>(sign | 0x7C00);
  int exponent;
  std::frexp(x, &exponent);                       // |x| < 2^exponent
  const int unit = std::max(exponent - 11, -24);  // of the last bit
  const double units = std::nearbyint(std::ldexp(std::fabs(static_cast<double>(x)), -unit));
  // `units` below 2048 times 2^unit; 2048 carries into the exponent.
  return static_cast<uint16_t>(sign | (static_cast<unsigned>(unit + 24) * 1024 + static_cast<unsigned>(units)));
}

inline int32_t wrap(int64_t x) { return static_cast<int32_t>(static_cast<uint32_t>(x)); }

}  // namespace emulated

// Not inlined: kernels are unrolled so far that compilation would take minutes.
#define EMULATED inline __attribute__((noinline))

EMULATED __m512i _mm512_setzero_si512() { return {}; }
EMULATED __m512 _mm512_setzero_ps() { return {}; }
EMULATED __m512i _mm512_load_si512(const void* p) {
  // The instruction faults if the address is not aligned.
  if (reinterpret_cast<uintptr_t>(p) % 64 != 0) __builtin_trap();
  return emulated::load<__m512i>(p);
}
EMULATED __m512i _mm512_loadu_si512(const void* p) { return emulated::load<__m512i>(p); }
EMULATED __m512 _mm512_loadu_ps(const void* p) { return emulated::load<__m512>(p); }
EMULATED void _mm512_storeu_si512(void* p, __m512i a) { std::memcpy(p, &a, sizeof a); }
EMULATED void _mm512_storeu_ps(void* p, __m512 a) { std::memcpy(p, &a, sizeof a); }
EMULATED __m512i _mm512_set1_epi32(int32_t x) {
  return emulated::each<__m512i>([&](int) { return x; });
}
EMULATED __m512 _mm512_set1_ps(float x) {
  return emulated::each<__m512>([&](int) { return x; });
}
EMULATED __m512i _mm512_xor_si512(__m512i a, __m512i b) {
  return emulated::each<__m512i>([&](int i) { return a.lane[i] ^ b.lane[i]; });
}
EMULATED __m512i _mm512_add_epi32(__m512i a, __m512i b) {
  return emulated::each<__m512i>([&](int i) { return emulated::wrap(int64_t{a.lane[i]} + b.lane[i]); });
}
EMULATED __m512i _mm512_sub_epi32(__m512i a, __m512i b) {
  return emulated::each<__m512i>([&](int i) { return emulated::wrap(int64_t{a.lane[i]} - b.lane[i]); });
}
EMULATED __m512i _mm512_popcnt_epi32(__m512i a) {
  return emulated::each<__m512i>([&](int i) {
    int32_t count = 0;
    for (int b = 0; b < 32; ++b) count += static_cast<int32_t>(static_cast<uint32_t>(a.lane[i]) >> b & 1u);
    return count;
  });
}
// Bit 4 a + 2 b + c of the table.
EMULATED __m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, int table) {
  return emulated::each<__m512i>([&](int i) {
    uint32_t out = 0;
    for (int bit = 0; bit < 32; ++bit) {
      const auto of = [&](const __m512i& x) { return static_cast<uint32_t>(x.lane[i]) >> bit & 1u; };
      out |= (static_cast<uint32_t>(table) >> (4 * of(a) + 2 * of(b) + of(c)) & 1u) << bit;
    }
    return static_cast<int32_t>(out);
  });
}
EMULATED __m512i _mm512_and_si512(__m512i a, __m512i b) {
  return emulated::each<__m512i>([&](int i) { return a.lane[i] & b.lane[i]; });
}
EMULATED __m512i _mm512_set1_epi8(int8_t x) {
  return emulated::each_of<uint8_t>([&](size_t) { return x; });
}
EMULATED __m512i _mm512_set1_epi16(int16_t x) {
  return emulated::each_of<uint16_t>([&](size_t) { return x; });
}
EMULATED __m512i _mm512_broadcast_i32x4(__m128i a) {
  return emulated::each_of<uint8_t>([&](size_t i) { return emulated::lane_of<uint8_t>(a, i % 16); });
}
EMULATED __m512i _mm512_shuffle_epi8(__m512i a, __m512i index) {
  return emulated::each_of<uint8_t>([&](size_t i) {
    const auto at = emulated::lane_of<uint8_t>(index, i);
    return at & 0x80 ? 0 : emulated::lane_of<uint8_t>(a, i / 16 * 16 + at % 16);
  });
}
EMULATED __m512i _mm512_add_epi8(__m512i a, __m512i b) {
  return emulated::each_of<uint8_t>(
      [&](size_t i) { return emulated::lane_of<uint8_t>(a, i) + emulated::lane_of<uint8_t>(b, i); });
}
EMULATED __m512i _mm512_add_epi16(__m512i a, __m512i b) {
  return emulated::each_of<uint16_t>(
      [&](size_t i) { return emulated::lane_of<uint16_t>(a, i) + emulated::lane_of<uint16_t>(b, i); });
}
EMULATED __m512i _mm512_sub_epi16(__m512i a, __m512i b) {
  return emulated::each_of<uint16_t>(
      [&](size_t i) { return emulated::lane_of<uint16_t>(a, i) - emulated::lane_of<uint16_t>(b, i); });
}
EMULATED __m512i _mm512_srli_epi16(__m512i a, unsigned count) {
  return emulated::each_of<uint16_t>([&](size_t i) { return emulated::lane_of<uint16_t>(a, i) >> count; });
}
EMULATED __m256i _mm512_castsi512_si256(__m512i a) { return emulated::load<__m256i>(&a); }
EMULATED __m256i _mm512_extracti64x4_epi64(__m512i a, int half) { return emulated::load<__m256i>(a.lane + 8 * half); }
EMULATED __m512i _mm512_cvtepu16_epi32(__m256i a) {
  return emulated::each<__m512i>([&](int i) { return emulated::lane_of<uint16_t>(a, static_cast<size_t>(i)); });
}
EMULATED __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i a, __m512i b) {
  return emulated::each<__m512i>([&](int i) {
    uint8_t x[4];
    int8_t w[4];
    std::memcpy(x, &a.lane[i], sizeof x);
    std::memcpy(w, &b.lane[i], sizeof w);
    int64_t total = sum.lane[i];
    for (int k = 0; k < 4; ++k) total += int64_t{x[k]} * w[k];
    return emulated::wrap(total);
  });
}
EMULATED __m512 _mm512_cvtepi32_ps(__m512i a) {
  return emulated::each<__m512>([&](int i) { return static_cast<float>(a.lane[i]); });
}
EMULATED __m512 _mm512_add_ps(__m512 a, __m512 b) {
  return emulated::each<__m512>([&](int i) { return a.lane[i] + b.lane[i]; });
}
EMULATED __m512 _mm512_sub_ps(__m512 a, __m512 b) {
  return emulated::each<__m512>([&](int i) { return a.lane[i] - b.lane[i]; });
}
EMULATED __m512 _mm512_mul_ps(__m512 a, __m512 b) {
  return emulated::each<__m512>([&](int i) { return a.lane[i] * b.lane[i]; });
}
EMULATED __m512 _mm512_div_ps(__m512 a, __m512 b) {
  return emulated::each<__m512>([&](int i) { return a.lane[i] / b.lane[i]; });
}
EMULATED __m256i _mm256_loadu_si256(const __m256i* p) { return emulated::load<__m256i>(p); }
EMULATED void _mm256_storeu_si256(__m256i* p, __m256i a) { std::memcpy(p, &a, sizeof a); }
EMULATED __m512 _mm512_cvtph_ps(__m256i a) {
  return emulated::each<__m512>(
      [&](int i) { return emulated::float_of_half(emulated::lane_of<uint16_t>(a, static_cast<size_t>(i))); });
}
EMULATED __m256i _mm512_cvtps_ph(__m512 a, int) {
  uint16_t halves[16];
  for (int i = 0; i < 16; ++i) halves[i] = emulated::nearest_half(a.lane[i]);
  return emulated::load<__m256i>(halves);
}
EMULATED __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  return emulated::each<__m512>([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
EMULATED __m512 _mm512_max_ps(__m512 a, __m512 b) {
  return emulated::each<__m512>([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
EMULATED __m512 _mm512_min_ps(__m512 a, __m512 b) {
  return emulated::each<__m512>([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
EMULATED __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int predicate) {
  return emulated::mask(
      [&](int i) { return predicate == _CMP_LT_OQ ? a.lane[i] < b.lane[i] : a.lane[i] <= b.lane[i]; });
}
EMULATED __mmask16 _mm512_cmplt_epi32_mask(__m512i a, __m512i b) {
  return emulated::mask([&](int i) { return a.lane[i] < b.lane[i]; });
}
EMULATED __m512 _mm512_mask_blend_ps(__mmask16 k, __m512 a, __m512 b) {
  return emulated::each<__m512>([&](int i) { return k >> i & 1 ? b.lane[i] : a.lane[i]; });
}
