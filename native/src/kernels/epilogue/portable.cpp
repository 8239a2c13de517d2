// The epilogue in plain C++: any CPU.
#include "kernels/epilogue/epilogue.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

// Unsigned inside, because lanes of channels that do not exist may hold anything.
ONEBIT_INLINE int32_t signed_sum(int32_t depth, int32_t diff) {
  return static_cast<int32_t>(static_cast<uint32_t>(depth) - 2u * static_cast<uint32_t>(diff));
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
  ONEBIT_INLINE void store(float* p) const {
    for (size_t i = 0; i < kLanes; ++i) p[i] = x[i];
  }
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

ONEBIT_INLINE uint32_t counts_below(const int32_t* depth, const int32_t* diff, const int32_t* below) {
  return Vec::each_bit([&](size_t i) { return signed_sum(depth[i], diff[i]) < below[i]; });
}

}  // namespace
}  // namespace onebit

#include "kernels/epilogue/body.h"

namespace onebit {
const EpilogueKernel epilogue_portable = {Isa::portable, "epilogue_portable", finish_floats, finish_counts,
                                          finish_windows};
}  // namespace onebit
