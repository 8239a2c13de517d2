// Minimal filtering (Winograd 1980): four neighboring results of a row with fewer multiplications.
//
// The four results of a filter g of r taps over data d are a polynomial product read backwards, which the values of
// the polynomials at r + 2 points and at infinity determine: y = A [(G g) * (B d)], r + 3 products in place of 4 r. The
// points are 0, 1, -1, 1/2, -2 and 2, as many as there must be, so that A, the powers of the points, and B hold powers
// of two and sums of them, exactly. What A does stands in kernels/float_conv.
#pragma once

#include <cstddef>
#include <vector>

namespace onebit {

struct MinimalFilter {
  static constexpr size_t kResults = 4;
  static constexpr size_t kMaxTaps = 4;  // with more points rounding errors grow

  // `taps`: 1 ... kMaxTaps.
  explicit MinimalFilter(size_t taps);

  size_t taps, products;       // products = taps + 3
  std::vector<double> filter;  // G, [products][taps]
  std::vector<float> data;     // B, [products][products]
};

}  // namespace onebit
