// Minimal filtering (Winograd 1980): four neighbouring results of a row with fewer multiplications.
//
// The four results of a filter g of r taps over data d are a polynomial product read backwards, which the values of
// the polynomials at r + 2 points and at infinity determine: y = A [(G g) * (B d)], r + 3 products in place of 4 r. The
// points are 0, +-1, 1/2 and +-2, so that A and B hold powers of two and sums of them, exactly.
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
  std::vector<float> result;   // A, [kResults][products]
};

}  // namespace onebit
