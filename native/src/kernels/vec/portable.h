// Vectors of 128 bits in the compiler's own extension, shared by the portable kernels: whatever the lowest CPU has.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/inline.h"
#include "kernels/tile.h"

namespace onebit {
namespace {

constexpr uint32_t kInfinity = 0x7F800000, kHalfInfinity = 0x7C00, kHalfQuiet = 0x200;
constexpr uint32_t kExponents = (127 - 15) << 23;              // from a half's exponent to the float's
constexpr uint32_t kSmallestNormal = kExponents + (1u << 23);  // of the halves, as a float

ONEBIT_INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

ONEBIT_INLINE float float_of(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

inline float to_float(Half half) {
  const uint32_t size = half & 0x7FFFu, sign = (half & 0x8000u) << 16;
  if (size < 0x400) return float_of(sign | bits_of(static_cast<float>(size) * 0x1p-24f));
  if (size < kHalfInfinity) return float_of(sign | ((size << 13) + kExponents));
  return float_of(sign | kInfinity | (size > kHalfInfinity ? size | kHalfQuiet : 0) << 13);
}

// Rounds to nearest, ties to even.
inline Half to_half(float x) {
  const uint32_t bits = bits_of(x), size = bits & 0x7FFFFFFFu;
  uint32_t half;
  if (size > kInfinity) {
    half = kHalfInfinity | kHalfQuiet | (size >> 13 & 0x3FF);
  } else if (size < kSmallestNormal) {
    half = bits_of(float_of(size) + 0.5f) - bits_of(0.5f);  // the last bit of the sum is worth 2^-24
  } else {
    half = (size - kExponents + 0xFFF + (size >> 13 & 1)) >> 13;
    if (half > kHalfInfinity) half = kHalfInfinity;
  }
  return static_cast<Half>((bits >> 16 & 0x8000) | half);
}

// 4 floats.
struct Vec {
  static constexpr size_t kLanes = 4;
  typedef float Floats __attribute__((vector_size(16)));
  typedef int32_t Mask __attribute__((vector_size(16)));  // all bits of a lane are 1, or all 0
  Floats x;

  ONEBIT_INLINE static Vec zero() { return broadcast(0.0f); }
  ONEBIT_INLINE static Vec broadcast(float value) { return {Floats{value, value, value, value}}; }
  ONEBIT_INLINE static Vec broadcast(const float* p) { return broadcast(*p); }
  ONEBIT_INLINE static Vec load(const float* p) { return {Floats{p[0], p[1], p[2], p[3]}}; }
  // Not inlined: kernels are unrolled so far that the conversions would multiply their code size. The same for store.
  __attribute__((noinline)) static Vec load(const Half* p) {
    return {Floats{to_float(p[0]), to_float(p[1]), to_float(p[2]), to_float(p[3])}};
  }
  ONEBIT_INLINE void store(float* p) const {
    for (size_t i = 0; i < kLanes; ++i) p[i] = x[i];
  }
  __attribute__((noinline)) void store(Half* p) const {
    for (size_t i = 0; i < kLanes; ++i) p[i] = to_half(x[i]);
  }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) { return {a.x + b.x}; }
  ONEBIT_INLINE static Vec sub(Vec a, Vec b) { return {a.x - b.x}; }
  ONEBIT_INLINE static Vec mul(Vec a, Vec b) { return {a.x * b.x}; }
  ONEBIT_INLINE static Vec div(Vec a, Vec b) { return {a.x / b.x}; }
  ONEBIT_INLINE static Vec max(Vec a, Vec b) { return select(less(b, a), a, b); }
  ONEBIT_INLINE static Vec min(Vec a, Vec b) { return select(less(a, b), a, b); }
  ONEBIT_INLINE static Vec multiply_add(Vec a, Vec b, Vec c) { return {c.x + a.x * b.x}; }
  ONEBIT_INLINE static Mask less(Vec a, Vec b) { return a.x < b.x; }
  ONEBIT_INLINE static Mask less_equal(Vec a, Vec b) { return a.x <= b.x; }
  ONEBIT_INLINE static uint32_t bits(Mask mask) {
    uint32_t out = 0;
    for (size_t i = 0; i < kLanes; ++i) out |= (static_cast<uint32_t>(mask[i]) & 1u) << i;
    return out;
  }
  ONEBIT_INLINE static Vec select(Mask mask, Vec yes, Vec no) {
    return {reinterpret_cast<Floats>((mask & reinterpret_cast<Mask>(yes.x)) | (~mask & reinterpret_cast<Mask>(no.x)))};
  }
};

// As many int32. Their sums wrap around, since lanes of channels that do not exist may hold anything.
struct IntVec {
  typedef uint32_t Ints __attribute__((vector_size(16)));
  Ints x;

  ONEBIT_INLINE static IntVec load(const int32_t* p) {
    IntVec out;
    __builtin_memcpy(&out.x, p, sizeof out.x);
    return out;
  }
  ONEBIT_INLINE static IntVec add(IntVec a, IntVec b) { return {a.x + b.x}; }
  ONEBIT_INLINE static IntVec sub(IntVec a, IntVec b) { return {a.x - b.x}; }
  ONEBIT_INLINE static Vec to_floats(IntVec a) {
    return {__builtin_convertvector(reinterpret_cast<Vec::Mask>(a.x), Vec::Floats)};
  }
  ONEBIT_INLINE static Vec::Mask less(IntVec a, IntVec b) {
    return reinterpret_cast<Vec::Mask>(a.x) < reinterpret_cast<Vec::Mask>(b.x);
  }
};

}  // namespace
}  // namespace onebit
