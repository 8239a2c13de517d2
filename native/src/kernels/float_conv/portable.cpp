// The real-valued convolution in plain C++: any CPU.
#include "kernels/float_conv/float_conv.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

struct Vec {
  static constexpr size_t kLanes = 4;
  float x[kLanes];

  ONEBIT_INLINE static Vec zero() { return {}; }
  ONEBIT_INLINE static Vec load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
  ONEBIT_INLINE void store(float* p) const {
    for (size_t i = 0; i < kLanes; ++i) p[i] = x[i];
  }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) {
    for (size_t i = 0; i < kLanes; ++i) a.x[i] += b.x[i];
    return a;
  }
  ONEBIT_INLINE static Vec fma(const float* a, Vec b, Vec c) {
    for (size_t i = 0; i < kLanes; ++i) c.x[i] += *a * b.x[i];
    return c;
  }
};

constexpr size_t kPixels = 3;
constexpr size_t kVectors = 4;

}  // namespace
}  // namespace onebit

#include "kernels/float_conv/body.h"

namespace onebit {
const FloatConvKernel float_conv_portable = {Isa::portable, "float_conv_portable", kPixels, kPanel, multiply};
}  // namespace onebit
