// The epilogue in plain C++: any CPU.
#include <cstring>

#include "kernels/epilogue/epilogue.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

// Unsigned inside, because lanes of channels that do not exist may hold anything.
ONEBIT_INLINE int32_t signed_sum(int32_t depth, int32_t diff) {
  return static_cast<int32_t>(static_cast<uint32_t>(depth) - 2u * static_cast<uint32_t>(diff));
}

constexpr uint32_t kInfinity = 0x7F800000, kHalfInfinity = 0x7C00, kHalfQuiet = 0x200;
constexpr uint32_t kExponents = (127 - 15) << 23;              // from a half's exponent to the float's
constexpr uint32_t kSmallestNormal = kExponents + (1u << 23);  // of the halves, as a float

ONEBIT_INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

ONEBIT_INLINE float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

float to_float(Half half) {
  const uint32_t size = half & 0x7FFFu, sign = (half & 0x8000u) << 16;
  if (size < 0x400) return float_of(sign | bits_of(static_cast<float>(size) * 0x1p-24f));
  if (size < kHalfInfinity) return float_of(sign | ((size << 13) + kExponents));
  return float_of(sign | kInfinity | (size > kHalfInfinity ? size | kHalfQuiet : 0) << 13);
}

// To the nearest, of two equally near ones the even.
Half to_half(float x) {
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

struct Vec {
  static constexpr size_t kLanes = 4, kRegisters = 8;
  using Mask = uint32_t;
  float x[kLanes];

  template <class Function>
  ONEBIT_INLINE static Vec each(Function f) {
    Vec out;
    for (size_t i = 0; i < kLanes; ++i) out.x[i] = f(i);
    return out;
  }
  template <class Function>
  ONEBIT_INLINE static Mask each_bit(Function f) {
    Mask mask = 0;
    for (size_t i = 0; i < kLanes; ++i) mask |= static_cast<Mask>(f(i)) << i;
    return mask;
  }
  ONEBIT_INLINE static Vec load(const float* p) {
    return each([&](size_t i) { return p[i]; });
  }
  static Vec load(const Half* p);
  ONEBIT_INLINE void store(float* p) const {
    for (size_t i = 0; i < kLanes; ++i) p[i] = x[i];
  }
  void store(Half* p) const;
  ONEBIT_INLINE static Vec broadcast(float value) {
    return each([&](size_t) { return value; });
  }
  ONEBIT_INLINE static Vec sum(const int32_t* depth, const int32_t* diff) {
    return each([&](size_t i) { return static_cast<float>(signed_sum(depth[i], diff[i])); });
  }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) {
    return each([&](size_t i) { return a.x[i] + b.x[i]; });
  }
  ONEBIT_INLINE static Vec mul(Vec a, Vec b) {
    return each([&](size_t i) { return a.x[i] * b.x[i]; });
  }
  ONEBIT_INLINE static Vec div(Vec a, Vec b) {
    return each([&](size_t i) { return a.x[i] / b.x[i]; });
  }
  ONEBIT_INLINE static Vec max(Vec a, Vec b) {
    return each([&](size_t i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
  }
  ONEBIT_INLINE static Vec min(Vec a, Vec b) {
    return each([&](size_t i) { return a.x[i] < b.x[i] ? a.x[i] : b.x[i]; });
  }
  ONEBIT_INLINE static Mask less(Vec a, Vec b) {
    return each_bit([&](size_t i) { return a.x[i] < b.x[i]; });
  }
  ONEBIT_INLINE static Mask less_equal(Vec a, Vec b) {
    return each_bit([&](size_t i) { return a.x[i] <= b.x[i]; });
  }
  ONEBIT_INLINE static uint32_t bits(Mask mask) { return mask; }
  ONEBIT_INLINE static Vec select(Mask mask, Vec yes, Vec no) {
    return each([&](size_t i) { return mask >> i & 1 ? yes.x[i] : no.x[i]; });
  }
};

// Not inline: kernels are unrolled so far that copies of these would multiply their code.
Vec Vec::load(const Half* p) {
  return each([&](size_t i) { return to_float(p[i]); });
}

void Vec::store(Half* p) const {
  for (size_t i = 0; i < kLanes; ++i) p[i] = to_half(x[i]);
}

ONEBIT_INLINE uint32_t counts_below(const int32_t* depth, const int32_t* diff, const int32_t* below) {
  return Vec::each_bit([&](size_t i) { return signed_sum(depth[i], diff[i]) < below[i]; });
}

}  // namespace
}  // namespace onebit

#include "kernels/epilogue/body.h"

namespace onebit {
const EpilogueKernel epilogue_portable = {Isa::portable, "epilogue_portable", finish_floats, finish_halves,
                                          finish_counts, finish_windows,      widen};
}  // namespace onebit
