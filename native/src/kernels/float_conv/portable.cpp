// The real-valued convolution in plain C++: any CPU.
#include "kernels/float_conv/float_conv.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

#if defined(__GNUC__)
typedef float Floats __attribute__((vector_size(16)));  // whatever 128-bit vectors the lowest CPU has
#else
struct Floats {
  float lane[4];
  float operator[](size_t i) const { return lane[i]; }
  Floats operator+(Floats b) const { return {{lane[0] + b[0], lane[1] + b[1], lane[2] + b[2], lane[3] + b[3]}}; }
  Floats operator-(Floats b) const { return {{lane[0] - b[0], lane[1] - b[1], lane[2] - b[2], lane[3] - b[3]}}; }
  Floats operator*(Floats b) const { return {{lane[0] * b[0], lane[1] * b[1], lane[2] * b[2], lane[3] * b[3]}}; }
};
#endif

struct Vec {
  static constexpr size_t kLanes = 4;
  Floats x;

  ONEBIT_INLINE static Vec zero() { return {Floats{0.0f, 0.0f, 0.0f, 0.0f}}; }
  ONEBIT_INLINE static Vec load(const float* p) { return {Floats{p[0], p[1], p[2], p[3]}}; }
  ONEBIT_INLINE static Vec broadcast(const float* p) { return {Floats{*p, *p, *p, *p}}; }
  ONEBIT_INLINE void store(float* p) const {
    for (size_t i = 0; i < kLanes; ++i) p[i] = x[i];
  }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) { return {a.x + b.x}; }
  ONEBIT_INLINE static Vec sub(Vec a, Vec b) { return {a.x - b.x}; }
  ONEBIT_INLINE static Vec multiply_add(Vec a, Vec b, Vec c) { return {c.x + a.x * b.x}; }
};

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 2;

}  // namespace
}  // namespace onebit

#include "kernels/float_conv/body.h"

namespace onebit {
const FloatConvKernel float_conv_portable = {
    Isa::portable, "float_conv_portable", "float_rows_portable", kPixels, kPanel, multiply, combine, find_results};
}  // namespace onebit
