// Minimal filtering (Winograd 1980): four neighboring results of a row with fewer multiplications.
//
// Filtering data d with a filter g of r taps is a transposed polynomial product, which is determined by its values at
// r + 2 points and at infinity: y = A [(G g) * (B d)], with r + 3 products instead of 4 r. The points are the first of
// 0, 1, -1, 1/2, -2 and 2, so that the entries of A, the powers of the points, and of B are sums of powers of two,
// which are exact. A is applied by the kernels, see kernels/float_conv.
#pragma once

#include <cstddef>
#include <vector>

namespace onebit {

struct MinimalFilter {
  static constexpr size_t kResults = 4;
  static constexpr size_t kMaxTaps = 4;  // more points increase rounding errors

  // `taps`: 1 ... kMaxTaps.
  explicit MinimalFilter(size_t taps);

  size_t taps, products;       // products = taps + 3
  std::vector<double> filter;  // G, [products][taps]
  std::vector<float> data;     // B, [products][products]
};

}  // namespace onebit
